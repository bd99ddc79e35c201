// Package servers boots bare Debian servers with systemd: containers (proc(5),
// namespaces(7)) on a root of their own, inside the lab's network. Only root can.
package servers
