package guest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	processors = 1
	memory     = "768M"
)

// NICs are a guest's interfaces as the lab names them: one for orders, one on
// each fabric. In the guest they are eth0, eth1 and eth2.
var nics = []string{"m", "a", "b"}

// accelerator is KVM where it runs a stock kernel, else emulation. A /dev/kvm on
// a processor that does not show vmx or svm belongs to a paravirtual hypervisor
// that does not. In emulation "rep movsb" goes byte by byte: without the erms
// flag the kernel copies four times faster.
func accelerator() []string {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err == nil && (hasFlag(string(cpuinfo), "vmx") || hasFlag(string(cpuinfo), "svm")) {
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			f.Close()
			return []string{"-accel", "kvm", "-cpu", "host"}
		}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max,-erms"}
}

func hasFlag(cpuinfo, flag string) bool {
	_, rest, found := strings.Cut(cpuinfo, "\nflags")
	line, _, _ := strings.Cut(rest, "\n")
	return found && strings.Contains(" "+line+" ", " "+flag+" ")
}

// machineArguments describe the machine of guest n, which is the same for each
// of them: a saved state fits no other. ram is the file that backs its memory;
// a private one is read from and never written to.
func machineArguments(n int, ram string, private bool) []string {
	share := "on"
	if private {
		share = "off"
	}
	args := append([]string{"-display", "none", "-nodefaults", "-no-reboot", "-M", "q35,memory-backend=ram"}, accelerator()...)
	args = append(args, "-smp", strconv.Itoa(processors), "-m", memory, "-device", "vmgenid",
		"-object", "memory-backend-file,id=ram,mem-path="+ram+",size="+memory+",share="+share)
	for _, nic := range nics {
		args = append(args, "-netdev", "tap,id="+nic+",ifname="+tapName(n, nic)+",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev="+nic)
	}
	return args
}

func tapName(n int, nic string) string { return fmt.Sprintf("g%d%s", n, nic) }

// monitor sends commands to QEMU's human monitor at a unix socket, one after the
// other, and returns what it said.
func monitor(socket string, timeout time.Duration, commands ...string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	var said strings.Builder
	in := bufio.NewReader(conn)
	for _, command := range append([]string{""}, commands...) {
		if command != "" {
			if _, err := io.WriteString(conn, command+"\n"); err != nil {
				return said.String(), err
			}
		}
		if command == "quit" {
			// To hang up at once could be to hang up before QEMU has read it.
			_, err := io.Copy(io.Discard, in)
			return said.String(), err
		}
		answer, err := readPrompt(in)
		said.WriteString(answer)
		if err != nil {
			return said.String(), fmt.Errorf("monitor, %q: %w", command, err)
		}
	}
	return said.String(), nil
}

func readPrompt(in *bufio.Reader) (string, error) {
	var answer strings.Builder
	for !strings.HasSuffix(answer.String(), "(qemu) ") {
		c, err := in.ReadByte()
		if err != nil {
			return answer.String(), err
		}
		answer.WriteByte(c)
	}
	return answer.String(), nil
}
