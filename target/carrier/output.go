package carrier

import (
	"net"

	"ashlar/target/socket"
)

// Output is a vector of bytes on their way to a host. It belongs to whoever writes.
type Output struct {
	Err error // of the first write that failed; nothing is written after it

	nc        net.Conn
	direct    *socket.Socket // nil where the connection is no socket
	vector    [][]byte
	unwritten net.Buffers
}

// Add puts bytes, which stay as they are until they are written, behind the others.
func (o *Output) Add(b []byte) { o.vector = append(o.vector, b) }

// Flush writes all that is there, or the rest of it.
func (o *Output) Flush() {
	if o.unwritten == nil {
		o.unwritten = o.vector
	}
	if o.Err == nil && len(o.unwritten) > 0 {
		_, o.Err = o.unwritten.WriteTo(o.nc)
	}
	o.written()
}

// flushNow writes as much as the socket takes, and says whether that was all.
func (o *Output) flushNow() bool {
	n, err := o.direct.WriteNow(o.vector...)
	if o.Err = err; err == nil {
		o.unwritten = o.vector
		for len(o.unwritten) > 0 && n >= len(o.unwritten[0]) {
			n -= len(o.unwritten[0])
			o.unwritten = o.unwritten[1:]
		}
		if len(o.unwritten) > 0 {
			o.unwritten[0] = o.unwritten[0][n:]
			return false
		}
	}
	o.written()
	return true
}

func (o *Output) written() {
	clear(o.vector)
	o.vector, o.unwritten = o.vector[:0], nil
}
