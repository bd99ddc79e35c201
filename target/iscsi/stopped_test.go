package iscsi

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/scsi"
	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

// The test binary is a portal's process, too: with this variable set it serves
// a device on the file that the variable names.
const asPortal = "ASHLAR_TEST_AS_PORTAL"

func TestMain(m *testing.M) {
	if file := os.Getenv(asPortal); file != "" {
		fmt.Fprintln(os.Stderr, servePortal(file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func servePortal(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	unit := scsi.NewTarget(scsi.Config{Name: iqn})
	if err := unit.Add(0, fileDevice{targettest.NewMemory(targettest.Options{}), f}); err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return NewServer(Config{
		Directory: &Static{Targets: map[string]*scsi.Target{iqn: unit}, Group: 1},
		Watch:     target.NewStallWatch(),
	}).Serve(l)
}

// fileDevice keeps its blocks in a file, where others see them.
type fileDevice struct {
	*targettest.Memory
	file *os.File
}

func (d fileDevice) Submit(op *target.Op) {
	var err error
	switch op.Kind {
	case target.Read:
		_, err = d.file.ReadAt(op.Data, int64(op.LBA)*512)
	case target.Write:
		_, err = d.file.WriteAt(op.Data, int64(op.LBA)*512)
	default:
		d.Memory.Submit(op)
		return
	}
	op.Status = target.OK
	if err != nil {
		op.Status = target.MediumError
	}
	op.Done(op)
}

// portal is a process that serves a file.
type portal struct {
	testing.TB
	file    *os.File
	address string
	process *os.Process
}

func newPortal(t testing.TB) *portal {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "blocks"))
	if err == nil {
		err = f.Truncate(64 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), asPortal+"="+f.Name())
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		child.Process.Kill()
		child.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &portal{t, f, strings.TrimSpace(address), child.Process}
}

func (p *portal) signal(s syscall.Signal) {
	p.Helper()
	if err := p.process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// stop stops the process, and returns when it stands.
func (p *portal) stop() {
	p.Helper()
	p.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.process.Pid))
		if err != nil || time.Now().After(deadline) {
			p.Fatalf("the process does not stand: %v", err)
		}
		if _, after, _ := bytes.Cut(stat, []byte(") ")); after[0] == 'T' {
			return
		}
	}
}

// A portal's process is stopped with writes in its socket buffers. Its host fails
// over, writes them again and overwrites them elsewhere. When the process goes on,
// nothing of the old bytes may reach the device.
func TestAProcessThatStoodStillDropsWhatWaitedInItsSockets(t *testing.T) {
	rounds := 1
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 10
	}
	for range rounds {
		p := newPortal(t)
		r := &rig{TB: t, address: p.address, ctx: t.Context()}
		whole := r.host(1, initiator.Options{})
		if err := whole.Write(r.ctx, 0, 0, bytes.Repeat([]byte{'a'}, 4096), 512); err != nil {
			t.Fatal(err)
		}
		// Half of a command's data was read before the process stopped.
		half := r.dial()
		half.login(2)
		half.settleRaw()
		half.put(&pdu.SCSICommand{Write: true, Final: true, ITT: 5, CmdSN: half.sn, EDTL: 4096, DataLength: 2048, CDB: [16]byte(initiator.CDB16(0x8a, 64, 8))},
			bytes.Repeat([]byte{'o'}, 2048))
		h, _ := half.get()
		var r2t pdu.R2T
		r2t.Unmarshal(&h)
		if h.Opcode() != pdu.OpR2T {
			t.Fatalf("opcode %#x", h.Opcode())
		}

		p.stop()
		var old []<-chan error
		for n := range 64 {
			old = append(old, submit(whole, &initiator.Command{CDB: initiator.CDB16(0x8a, uint64(n)*8, 8), Out: bytes.Repeat([]byte{'o'}, 4096)}))
		}
		half.put(&pdu.DataOut{Final: true, ITT: 5, TTT: r2t.TTT, Offset: 2048, DataLength: 2048}, bytes.Repeat([]byte{'o'}, 2048))
		overwritten := bytes.Repeat([]byte{'n'}, 128*4096)
		if _, err := p.file.WriteAt(overwritten, 0); err != nil { // by way of another portal
			t.Fatal(err)
		}
		time.Sleep(1200 * time.Millisecond) // how long it stands is what is tested, so this is no wait for a condition
		p.signal(syscall.SIGCONT)

		for n, w := range old {
			if err := r.wait(w); err == nil {
				t.Fatalf("old write %d was acknowledged", n)
			}
		}
		half.ends()
		fresh := p.login(r) // and it serves on
		got := make([]byte, len(overwritten))
		if err := fresh.Read(r.ctx, 0, 0, got, 512); err != nil || !bytes.Equal(got, overwritten) {
			t.Fatalf("old bytes are on the device at %d: %v", bytes.IndexByte(got, 'o'), err)
		}
		fresh.Close()
	}
}

// login is a session with a process that may still drop connections, those that
// just began included.
func (p *portal) login(r *rig) (s *initiator.Session) {
	p.Helper()
	r.eventually("a host logs in again", func() bool {
		var err error
		s, err = initiator.Dial(r.ctx, r.address, iqn, initiator.Options{})
		if err != nil {
			return false
		}
		for range 5 { // unit attentions
			if err = s.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)}); err == nil {
				return true
			}
		}
		s.Close()
		return false
	})
	return s
}

// A process that stands for less than the limit is as fresh as ever. On a busy
// machine it may stand longer than it was told to, so it is tried more than once.
func TestAShortStopIsNoStall(t *testing.T) {
	p := newPortal(t)
	r := &rig{TB: t, address: p.address, ctx: t.Context()}
	var err error
	for range 5 {
		s := p.login(r)
		p.stop()
		write := submit(s, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 8), Out: bytes.Repeat([]byte{'w'}, 4096)})
		time.Sleep(50 * time.Millisecond)
		p.signal(syscall.SIGCONT)
		err = r.wait(write)
		s.Close()
		if err == nil {
			return
		}
	}
	t.Fatal(err)
}
