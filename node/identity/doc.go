// Package identity says who is who: the cluster's own certificate authority,
// the certificates it issues to nodes and clients, the TLS configurations that
// check them, and the join token by which a new node and the cluster come to
// trust each other.
//
// A certificate speaks for one name, a URI in its subject alternative names
// (RFC 5280 section 4.2.1.6, in the manner of SPIFFE):
//
//	ashlar://<cluster-id>/node/<number>
//	ashlar://<cluster-id>/client/<name>
//
// Host names and addresses are never compared: a node's address may change, its
// number does not. Certificates for HTTPS (Server) are another matter: they name
// addresses, and no node.
package identity
