package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"ashlar/appliance/api"
	"ashlar/node"
	"ashlar/node/freeport"
)

// ports are the same on each node's address.
type ports struct{ peer, gossip, iscsi, nvme, discovery, api uint16 }

// server is one node: a process of this program, and its client.
type server struct {
	name    string
	ip      string
	dir     string
	ports   ports
	client  *api.Client
	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone
}

func (s *server) peer() string   { return net.JoinHostPort(s.ip, text(s.ports.peer)) }
func (s *server) portal() string { return net.JoinHostPort(s.ip, text(s.ports.iscsi)) }

func text(port uint16) string { return strconv.Itoa(int(port)) }

// launcher starts processes that the kernel kills when this one dies. That
// hangs on the thread which started them, so one thread starts them all.
type launcher struct{ work chan func() }

func newLauncher() launcher {
	l := launcher{make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l launcher) start(c *exec.Cmd) error {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan error)
	l.work <- func() { done <- c.Start() }
	return <-done
}

// start runs the node's process; its log goes to a file in the node's folder.
func (s *server) start(l launcher) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(self, "serve", "--dir", s.dir, "--name", s.name, "--address", s.ip, "--peer-port", text(s.ports.peer),
		"--gossip-port", text(s.ports.gossip), "--iscsi-port", text(s.ports.iscsi),
		"--nvme-port", text(s.ports.nvme), "--nvme-discovery-port", text(s.ports.discovery), "--api-port", text(s.ports.api))
	c.Stdout, c.Stderr = log, log
	if err := l.start(c); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		close(ended)
	}()
	s.process, s.ended = c, ended
	return nil
}

// answers waits until the node takes orders.
func (s *server) answers(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		select {
		case <-s.ended:
			return false, fmt.Errorf("node %s has ended; its log is %s", s.name, filepath.Join(s.dir, "log"))
		default:
		}
		_, err := s.client.Status(ctx)
		return err == nil, nil
	})
}

// end sends a signal and waits until the process is gone.
func (s *server) end(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	err := s.process.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.process.Process.Kill()
		<-s.ended
		return errors.Join(err, fmt.Errorf("node %s did not stop by itself", s.name))
	}
	return err
}

// newServers plans n nodes at 127.0.0.1 and the addresses behind it.
func newServers(folder string, n int) ([]*server, error) {
	var ips []string
	for i := range n {
		ips = append(ips, fmt.Sprintf("127.0.0.%d", i+1))
	}
	free, err := freeport.Take(ips, 6)
	if err != nil {
		return nil, err
	}
	p := ports{peer: free[0], gossip: free[1], iscsi: free[2], nvme: free[3], discovery: free[4], api: free[5]}
	var all []*server
	for i, ip := range ips {
		s := &server{name: fmt.Sprintf("node%d", i+1), ip: ip, ports: p}
		s.dir = filepath.Join(folder, s.name)
		socket, err := node.SocketPath(s.dir)
		if err != nil {
			return nil, err
		}
		s.client = api.NewClient(socket)
		all = append(all, s)
	}
	return all, nil
}

// until asks again and again until the answer is yes.
func until(ctx context.Context, ask func() (bool, error)) error {
	const again = 50 * time.Millisecond
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again):
		}
	}
}
