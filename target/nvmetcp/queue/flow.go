package queue

// Flow is the submission queue's flow control (NVMe over Fabrics: SQHD).
type Flow struct {
	size     uint16 // entries
	head     uint16
	disabled bool
}

// NewFlow is that of a queue with so many entries, 2 at least.
func NewFlow(size uint16, disabled bool) Flow { return Flow{size: size, disabled: disabled} }

// Take takes an entry off the queue.
func (f *Flow) Take() {
	if f.head++; f.head == f.size {
		f.head = 0
	}
}

// noHead is SQHD where the host does not use it.
const noHead = 0xFFFF

// Head is what a completion tells.
func (f *Flow) Head() uint16 {
	if f.disabled {
		return noHead
	}
	return f.head
}

// Room says whether a queue with so many commands under way may have one more:
// there is a completion queue entry for each (MAXCMD).
func (f *Flow) Room(commands int) bool { return commands < int(f.size) }

// ReplacesResponse says whether the last data to the host may stand for success
// (NVMe TCP Transport 3.3.2.2, SUCCESS): the host must not need SQHD, nor the result.
func (f *Flow) ReplacesResponse(result uint64) bool { return f.disabled && result == 0 }
