// Package carrier is what iSCSI and NVMe/TCP have in common below their PDUs: a
// server's connections, their sockets, data buffers, and how answers are written.
package carrier
