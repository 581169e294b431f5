// Package links reads to which hosts the links of a message lead: what spammers
// advertise stands there. It hides how mail and HTML write links, and how those
// who write them dodge whoever reads along. It is pure: it asks nobody about a
// host, and never follows a link.
package links
