// Package admin is the node's HTTP side: the JSON API with its OpenAPI
// description, /metrics, /healthz and /readyz, and the Go client the CLI uses.
//
// It declares the views it shows; node fills them. It must never decide, and
// never show one tenant's token anything of another tenant.
package admin
