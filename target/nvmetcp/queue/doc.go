// Package queue decides what the connection of a queue does with what a host
// sends (NVMe TCP Transport 1.0): the terms of a connection, the lengths of a
// PDU, where a command's data is, and what data was asked for. It is pure.
package queue
