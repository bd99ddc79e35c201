// Package conformance has other people's initiators judge the product: libiscsi's
// test suite and tools, and QEMU. Its tests want the tag "conformance"; what reads
// and judges the tools' output is tested without it.
package conformance
