// Package nvmehost is a small NVMe/TCP host for tests and benchmarks: one admin
// queue, any number of I/O queues, commands in parallel. It believes what it is
// told as far as it can, so that a test sees it.
package nvmehost
