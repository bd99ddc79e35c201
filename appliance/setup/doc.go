// Package setup turns a bare server with systemd and the package installed into a
// node of a cluster: it looks at the machine, refuses what cannot be meant, writes
// the service's settings, starts it, and gives the node its first orders. What is
// done already is left as it is, so it can be run again.
package setup
