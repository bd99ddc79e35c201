package fabric

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Command is a command to run on node k.
func Command(k int, name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", fmt.Sprintf("n%d", k), name}, args...)...)
}

// On runs do on a thread in the network of node k: sockets that it opens belong
// to that node, and stay so when it has returned.
func On(k int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked, so the thread ends with the goroutine: no other
		// goroutine ever runs in the node's network.
		runtime.LockOSThread()
		netns, err := os.Open(fmt.Sprintf("/run/netns/n%d", k))
		if err != nil {
			result <- err
			return
		}
		defer netns.Close()
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("network of node %d: %w", k, err)
			return
		}
		result <- do()
	}()
	return <-result
}
