// Lab runs real Linux initiators against nodes on two fabrics, all of it in
// namespaces of its own.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"ashlar/scripts/internal/fabric"
	"ashlar/scripts/internal/guest"
	"ashlar/scripts/internal/require"
	"ashlar/scripts/internal/servers"
)

const usage = `lab build              build what is not in the cache: the guests and, as root, the installed Debian of servers
lab in CMD...          run CMD in a network of its own; all that starts in it ends with it

and in such a network:
lab up [N]             start guest N (1), with 10.1.0.(100+N) and 10.2.0.(100+N)
lab run [-N] [FILE]    run a shell script (or the input) in guest N: its output, its exit code
lab down [N]           cut the power of guest N
lab node K             make node K: network namespace nK with 10.1.0.K and 10.2.0.K
lab cut X [Y] [a|b]    part X (node K, or guest gN) from all others, or from Y alone; in silence
lab heal X [Y] [a|b]   undo that cut

Guests have Debian's stable kernel, or with ASHLAR_LAB_KERNEL=backports at "lab in" the newer one.
Saved guests are kept in $ASHLAR_LAB_CACHE (ashlar-lab in the user's cache directory).
`

// What a lab's commands know of it. The directory goes when the lab ends.
const (
	stateVariable = "ASHLAR_LAB"
	savedVariable = "ASHLAR_LAB_GUEST"
)

// Lab's own exit code, above those that scripts use.
const failed = 255

func main() {
	code, err := command(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = failed
	}
	os.Exit(code)
}

func command(args []string) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	verb, args := args[0], args[1:]
	state := os.Getenv(stateVariable)
	switch verb {
	case "build":
		for _, k := range []guest.Kernel{guest.Stable, guest.Backports} {
			if _, err := build(k); err != nil {
				return 0, err
			}
		}
		if os.Getuid() != 0 {
			return 0, nil
		}
		if err := require.Programs(require.Servers); err != nil {
			return 0, err
		}
		return 0, servers.Build()
	case "boot": // the first process of the network that build boots in
		if err := fabric.EnterPrivate(); err != nil {
			return 0, err
		}
		return 0, guest.Boot(guest.Kernel(args[0]), args[1])
	case "in":
		return in(args)
	case "inside": // the first process of the network of "in"
		return inside(args)
	}
	if state == "" {
		return 0, fmt.Errorf("not in a lab: lab in lab %s", verb)
	}
	switch verb {
	case "up":
		n, err := number(args)
		if err != nil {
			return 0, err
		}
		return 0, guest.Up(n, os.Getenv(savedVariable), state, fabric.Bridges)
	case "down":
		n, err := number(args)
		if err != nil {
			return 0, err
		}
		return 0, guest.Down(n, state)
	case "run":
		return run(args)
	case "node":
		k, err := number(args)
		if err != nil {
			return 0, err
		}
		return 0, fabric.AddNode(k)
	case "cut", "heal":
		ports, fabrics, err := fabric.ParseCut(args)
		if err != nil {
			return 0, err
		}
		if verb == "cut" {
			return 0, fabric.Cut(ports, fabrics)
		}
		return 0, fabric.Heal(ports, fabrics)
	}
	return 0, fmt.Errorf("no such command: %s\n%s", verb, usage)
}

func build(k guest.Kernel) (saved string, err error) {
	if err := require.Programs(require.Lab); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	begin := time.Now()
	return guest.EnsureBuilt(k, func(dir string) *exec.Cmd {
		return fabric.PrivateCommand(self, "boot", string(k), dir)
	}, func(what string) {
		fmt.Fprintf(os.Stderr, "lab: %3.0f s: %s\n", time.Since(begin).Seconds(), what)
	})
}

func in(args []string) (int, error) {
	if len(args) == 0 {
		return 0, fmt.Errorf("in wants a command")
	}
	k, err := guest.ParseKernel(os.Getenv(guest.KernelVariable))
	if err != nil {
		return 0, err
	}
	saved, err := build(k)
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// Scripts in the lab say `lab`: this program.
	bin, err := os.MkdirTemp("", "ashlar-lab-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	if err := os.Symlink(self, filepath.Join(bin, "lab")); err != nil {
		return 0, err
	}
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	os.Setenv(savedVariable, saved)
	return fabric.Private(append([]string{self, "inside"}, args...)...)
}

func inside(args []string) (int, error) {
	if err := fabric.EnterPrivate(); err != nil {
		return 0, err
	}
	const state = "/run/lab"
	if err := os.MkdirAll(state, 0o755); err != nil {
		return 0, err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return 0, err
	}
	if err := fabric.Make(); err != nil {
		return 0, err
	}
	os.Setenv(stateVariable, state)
	return fabric.RunAndReap(args...)
}

func run(args []string) (int, error) {
	n := 1
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		var err error
		if n, err = number([]string{args[0][1:]}); err != nil {
			return 0, err
		}
		args = args[1:]
	}
	var script io.Reader = os.Stdin
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return 0, err
		}
		defer f.Close()
		script = f
	}
	return guest.Run(n, script, os.Stdout)
}

// number reads the one argument that a guest or a node is named by.
func number(args []string) (int, error) {
	switch len(args) {
	case 0:
		return 1, nil
	case 1:
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > 99 {
			return 0, fmt.Errorf("%q: a number from 1 to 99", args[0])
		}
		return n, nil
	}
	return 0, fmt.Errorf("too many arguments: %v", args)
}
