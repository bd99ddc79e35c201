package targettest

import (
	"bytes"
	"testing"

	"ashlar/target"
)

// settle says what became of an operation's answer.
func (d *device) settle(o *target.Op, acknowledged bool) {
	d.t.Helper()
	if o.Settle == nil {
		d.t.Fatalf("nobody wants to know what became of a %v's answer", o.Kind)
	}
	o.Settle(acknowledged)
}

// swap is a CompareAndWrite of block 3, through one of two ports of two hosts.
func (d *device) swap(want target.Status, host string, port uint16, from, to byte) *target.Op {
	d.t.Helper()
	data := append(bytes.Repeat([]byte{from}, int(d.size)), bytes.Repeat([]byte{to}, int(d.size))...)
	as := target.Nexus{Host: host + ",i,0x" + string(rune('0'+port)), Port: port, Generation: 1}
	o, err := wait(d.startAs(as, target.CompareAndWrite, 3, 1, data))
	if err != nil {
		d.t.Fatal(err)
	}
	if o.Status != want {
		d.t.Fatalf("%s through %d from %q to %q: %v, want %v", host, port, from, to, o.Status, want)
	}
	return o
}

// claimed tries what a host does that repeats a CompareAndWrite, and what looks
// the same and is not.
func claimed(t *testing.T, d *device) {
	d.write(3, make([]byte, d.size))

	// The first answer is lost with its session: the repetition succeeds, once.
	d.settle(d.swap(target.OK, "a", 1, 0, 'a'), false)
	second := d.swap(target.OK, "a", 2, 0, 'a')
	d.swap(target.Miscompare, "a", 1, 0, 'a')
	d.settle(second, true)
	d.swap(target.Miscompare, "a", 2, 0, 'a')
	d.swap(target.Miscompare, "b", 2, 0, 'a') // nor is another host's the same

	// Two processes of one host race: one succeeds.
	first := d.swap(target.OK, "a", 1, 'a', 'x')
	d.swap(target.Miscompare, "a", 2, 'a', 'x')
	d.settle(first, true)

	// a locks and its answer is lost, or not; a releases, b locks, a's old command comes again.
	for _, acknowledged := range []bool{true, false} {
		d.write(3, make([]byte, d.size))
		d.settle(d.swap(target.OK, "a", 1, 0, 'a'), acknowledged)
		d.swap(target.Miscompare, "b", 2, 0, 'b')
		d.settle(d.swap(target.OK, "a", 1, 'a', 0), true)
		d.settle(d.swap(target.OK, "b", 2, 0, 'b'), true)
		d.swap(target.Miscompare, "a", 2, 0, 'a')
	}

	// What was never carried out is carried out by the repetition; neighbours do not matter.
	d.write(3, bytes.Repeat([]byte{'z'}, int(d.size)))
	d.settle(d.swap(target.OK, "a", 1, 'z', 'y'), false)
	d.write(2, bytes.Repeat([]byte{'n'}, int(d.size)))
	d.write(4, bytes.Repeat([]byte{'n'}, int(d.size)))
	d.settle(d.swap(target.OK, "a", 2, 'z', 'y'), true)
	d.expect(3, bytes.Repeat([]byte{'y'}, int(d.size)))
}
