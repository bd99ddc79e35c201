// Package hostside is what runs on hosts: it looks at the initiators' settings as
// the kernel has them, says which of them would hurt, and connects a host to a volume.
package hostside
