package node

import (
	"time"
)

// Config is one node's configuration file: YAML, strict.
type Config struct {
	// Name is the node's name in the cluster.
	Name string `yaml:"name"`
	// Dir holds the raft log, the queue and the admin socket's token; 0700.
	Dir string `yaml:"dir"`
	// Hostname greets submission clients; neutral.
	Hostname string `yaml:"hostname"`
	// Bootstrap forms a cluster of one in an empty Dir.
	Bootstrap bool `yaml:"bootstrap"`

	Submission    []string `yaml:"submission"`     // host:port with STARTTLS
	SubmissionTLS []string `yaml:"submission_tls"` // host:port with TLS from the start
	Admin         string   `yaml:"admin"`          // host:port of the API
	Metrics       string   `yaml:"metrics"`        // host:port of /metrics alone; "" serves it on admin

	TLS struct {
		Cert string `yaml:"cert"` // PEM file, reloaded when it changes
		Key  string `yaml:"key"`
	} `yaml:"tls"`

	// OperatorTokenFile holds the operator's API token.
	OperatorTokenFile string `yaml:"operator_token_file"`
	// SecretKeyFile holds 32 bytes (hex) that seal keys in the replicated state.
	SecretKeyFile string `yaml:"secret_key_file"`

	Resolvers []string `yaml:"resolvers"` // host:port of own recursive resolvers

	Delivery struct {
		Port  uint16          `yaml:"port"`
		Retry []time.Duration `yaml:"retry"`
	} `yaml:"delivery"`

	Queue struct {
		FreeFloor uint64 `yaml:"free_floor"` // bytes
	} `yaml:"queue"`

	Log struct {
		Level  string `yaml:"level"`  // debug, info, warn, error
		Format string `yaml:"format"` // text or json
	} `yaml:"log"`
}
