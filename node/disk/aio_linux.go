package disk

import (
	"io"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Linux's asynchronous I/O (io_submit(2)) gives the device many writes by one system call, and waits
// for several of them by another: of many small writes the calls and the switches of
// threads would cost more than all else. Only direct I/O is asynchronous.

// iocb is struct iocb of <linux/aio_abi.h>, little-endian.
type iocb struct {
	data    uint64   // given back with the event
	_       [2]int32 // aio_key, aio_rw_flags
	opcode  uint16
	_       int16 // aio_reqprio
	file    uint32
	vector  *iovec
	vectors uint64
	offset  int64
	_       uint64    // aio_reserved2
	_       [2]uint32 // aio_flags, aio_resfd
}

const opcodePwritev = 8 // IOCB_CMD_PWRITEV

// iovec is struct iovec.
type iovec struct {
	base   *byte
	length uint64
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, object    uint64
	result, result2 int64
}

// queue is a context of asynchronous I/O.
type queue struct {
	mu      sync.Mutex // one write at a time
	context uintptr
	events  []ioEvent // as many as may be under way at once
}

// newQueue has room for so many writes at once. It fails where the system has no room (fs.aio-max-nr), or forbids it.
func newQueue(atOnce int) (*queue, error) {
	q := &queue{events: make([]ioEvent, atOnce)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(atOnce), uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, os.NewSyscallError("io_setup", errno)
	}
	return q, nil
}

func (q *queue) close() { unix.Syscall(unix.SYS_IO_DESTROY, q.context, 0, 0) }

// asyncBlocks bounds what is under way, beside the number of writes: a few long ones keep a device as
// busy as many short ones, and a journal record waits in it behind them all.
const asyncBlocks = 128

// write gives the pieces to a file, in any order, so many at once, and returns when none is under way: with the
// first error, after which no more are begun. More are begun whenever half of those under way are done.
func (q *queue) write(file *os.File, pieces []piece, atOnce int) (first error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	todo := iocbs(file, pieces)
	atOnce = min(atOnce, len(q.events))
	begun, done, blocks := 0, 0, 0 // blocks are those under way
	for done < begun || begun < len(todo) && first == nil {
		for first == nil {
			next := begun
			for ; next < len(todo) && next-done < atOnce; next++ {
				if n := len(pieces[next].blocks); next == done || blocks+n <= asyncBlocks {
					blocks += n
					continue
				}
				break
			}
			if next == begun {
				break
			}
			n, err := q.submit(todo[begun:next])
			blocks -= sum(pieces[begun+n : next])
			begun += n
			if err == unix.EAGAIN { // the kernel has no room now: again when some are done, or soon
				if begun == done {
					time.Sleep(time.Millisecond)
				}
				break
			}
			first = err
		}
		least := begun - done
		if begun < len(todo) && first == nil {
			least = (least + 1) / 2
		}
		for _, e := range q.wait(least) {
			n := len(pieces[e.data].blocks)
			done, blocks = done+1, blocks-n
			if first == nil {
				first = e.failed(n * blockSize)
			}
		}
	}
	runtime.KeepAlive(todo)
	runtime.KeepAlive(pieces)
	return first
}

func sum(pieces []piece) (blocks int) {
	for _, p := range pieces {
		blocks += len(p.blocks)
	}
	return blocks
}

// iocbs are what the kernel is asked, by number of the piece.
func iocbs(file *os.File, pieces []piece) []*iocb {
	vectors, all, list := make([]iovec, 0, sum(pieces)), make([]iocb, len(pieces)), make([]*iocb, len(pieces))
	for i, p := range pieces {
		from := len(vectors)
		for _, b := range p.blocks {
			if n := len(vectors); n > from && uintptr(unsafe.Pointer(vectors[n-1].base))+uintptr(vectors[n-1].length) == uintptr(unsafe.Pointer(b)) {
				vectors[n-1].length += blockSize // they lie side by side
				continue
			}
			vectors = append(vectors, iovec{&b[0], blockSize})
		}
		all[i] = iocb{data: uint64(i), opcode: opcodePwritev, file: uint32(file.Fd()), vector: &vectors[from], vectors: uint64(len(vectors) - from), offset: p.off}
		list[i] = &all[i]
	}
	return list
}

// submit begins writes, perhaps not all.
func (q *queue) submit(list []*iocb) (n int, err error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, q.context, uintptr(len(list)), uintptr(unsafe.Pointer(&list[0])))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, unix.EAGAIN
		}
		return 0, os.NewSyscallError("io_submit", errno)
	}
}

// wait returns when at least so many writes have ended.
func (q *queue) wait(least int) []ioEvent {
	done := 0
	for done < least {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.context, uintptr(least-done), uintptr(len(q.events)-done), uintptr(unsafe.Pointer(&q.events[done])), 0, 0)
		if errno != 0 && errno != unix.EINTR {
			panic(os.NewSyscallError("io_getevents", errno)) // the kernel still has our memory
		}
		if errno == 0 {
			done += int(n)
		}
	}
	return q.events[:done]
}

// failed says why a write of so many bytes did.
func (e *ioEvent) failed(bytes int) error {
	switch {
	case e.result < 0:
		return os.NewSyscallError("pwritev", unix.Errno(-e.result))
	case e.result != int64(bytes):
		return io.ErrShortWrite
	}
	return nil
}
