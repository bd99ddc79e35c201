package cli

import (
	"errors"
	"syscall"

	"ashlar/appliance/api"

	"golang.org/x/sys/unix"
)

// lockMemory has the kernel never take this process's pages from it, nor have it wait for dirty pages of block
// devices where it needs memory. On a machine that uses volumes which it serves itself both would end in a deadlock:
// the kernel frees memory by writing to a volume, and the process needs memory for that write.
//
// It is MCL_ONFAULT, since Go's runtime reserves far more address space than it ever touches: only touched pages are
// locked. PR_SET_IO_FLUSHER (prctl(2), Linux 5.6) is each thread's, and new threads have what their maker has.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return unlocked("mlockall", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0, 0); errno != 0 {
		return unlocked("prctl(PR_SET_IO_FLUSHER)", errno)
	}
	return nil
}

// unlocked says what is missing for it.
func unlocked(call string, err error) error {
	p := &api.Problem{Code: "no-lock", Detail: "--lock-memory: the kernel refused: " + call + ": " + err.Error(), Next: "serve without --lock-memory"}
	switch {
	case errors.Is(err, unix.ENOTSUP):
		p.Detail = "--lock-memory: this program was built with cgo, and cannot change all of its threads"
		p.Next = "build it with CGO_ENABLED=0"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN):
		p.Detail = "--lock-memory: not allowed to lock memory or to be an I/O flusher: " + call + ": " + err.Error()
		p.Next = "give the process CAP_SYS_RESOURCE, and CAP_IPC_LOCK or no limit of locked memory (systemd: AmbientCapabilities= and CapabilityBoundingSet=, LimitMEMLOCK=infinity)"
	}
	return p
}
