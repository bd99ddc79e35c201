// Package api is version 1 of a node's HTTP API: the types it speaks, the
// server over a node, and the Go client that the command line uses.
//
// It is served on the unix socket in the node's folder, to whoever may open
// that (mode 0600), and over TLS to who has a token (Access), by the role that
// each operation takes (Rights). /openapi.json describes it. An order that cannot be carried
// out is answered with a Problem and changes nothing.
package api
