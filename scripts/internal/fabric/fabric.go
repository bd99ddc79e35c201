package fabric

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// Bridges are the two fabrics: 10.1.0.0/24 is "a", 10.2.0.0/24 is "b". The .254
// of each belongs to the lab itself, .1 to .99 to nodes, the rest to guests.
var Bridges = map[string]string{"a": "fa", "b": "fb"}

var network = map[string]string{"a": "10.1.0", "b": "10.2.0"}

// rules drop what a cut concerns, at each bridge and in silence: the links stay
// up and nobody gets a reset, as when a switch fails or is misconfigured.
const rules = `
table bridge lab {
	set alone { type ifname; }
	set apart { type ifname . ifname; }
	chain forward {
		type filter hook forward priority 0;
		iifname @alone drop
		oifname @alone drop
		iifname . oifname @apart drop
	}
	chain input {
		type filter hook input priority 0;
		iifname @alone drop
	}
	chain output {
		type filter hook output priority 0;
		oifname @alone drop
	}
}
`

// Make makes the fabrics in the network namespace of the caller.
func Make() error {
	for f, bridge := range Bridges {
		if err := errors.Join(
			ip("link", "add", bridge, "type", "bridge"),
			ip("address", "add", network[f]+".254/24", "dev", bridge),
			ip("link", "set", bridge, "up")); err != nil {
			return err
		}
	}
	return nft(rules)
}

// AddNode makes the network namespace nK with 10.1.0.K on interface a and
// 10.2.0.K on interface b. `ip netns exec nK` runs a daemon there.
func AddNode(k int) error {
	if k < 1 || k > 99 {
		return fmt.Errorf("node %d: 1 to 99", k)
	}
	name := fmt.Sprintf("n%d", k)
	if err := errors.Join(ip("netns", "add", name), ip("-n", name, "link", "set", "lo", "up")); err != nil {
		return err
	}
	for f, bridge := range Bridges {
		if err := errors.Join(
			ip("link", "add", name+f, "master", bridge, "type", "veth", "peer", "name", f, "netns", name),
			ip("link", "set", name+f, "up"),
			ip("-n", name, "address", "add", fmt.Sprintf("%s.%d/24", network[f], k), "dev", f),
			ip("-n", name, "link", "set", "dev", f, "up")); err != nil {
			return err
		}
	}
	return nil
}

var (
	portName   = regexp.MustCompile(`^(g?)([1-9][0-9]?)$`)
	fabricName = regexp.MustCompile(`^[ab]$`)
)

// ParseCut reads the arguments of a cut: one or two of "K" (node K) and "gN"
// (guest N), and at most one of "a" and "b" (both, if left out).
func ParseCut(args []string) (ports, fabrics []string, err error) {
	for _, arg := range args {
		match := portName.FindStringSubmatch(arg)
		switch {
		case fabricName.MatchString(arg):
			fabrics = append(fabrics, arg)
		case match != nil && match[1] == "g":
			ports = append(ports, arg)
		case match != nil:
			ports = append(ports, "n"+arg)
		default:
			return nil, nil, fmt.Errorf("%q is neither a node (1), a guest (g1) nor a fabric (a, b)", arg)
		}
	}
	if len(ports) < 1 || len(ports) > 2 || len(fabrics) > 1 {
		return nil, nil, errors.New("a cut is between a node or guest and all others, or between two, on one fabric or both")
	}
	if len(fabrics) == 0 {
		fabrics = []string{"a", "b"}
	}
	return ports, fabrics, nil
}

// Cut parts one port from all others, or two from each other. Cutting what is
// cut changes nothing.
func Cut(ports, fabrics []string) error { return change("add", ports, fabrics) }

// CutOneWay drops what goes from one port to another, and nothing of what comes back.
func CutOneWay(from, to string, fabrics []string) error {
	return changeOneWay("add", from, to, fabrics)
}

// HealOneWay undoes a CutOneWay.
func HealOneWay(from, to string, fabrics []string) error {
	return changeOneWay("delete", from, to, fabrics)
}

func changeOneWay(verb, from, to string, fabrics []string) error {
	var script strings.Builder
	for _, f := range fabrics {
		fmt.Fprintf(&script, "%s element bridge lab apart { %q . %q }\n", verb, from+f, to+f)
	}
	return nft(script.String())
}

// Slow lets so many megabits a second through to a node and as many back, on each fabric. More than that
// waits for up to 300 ms, and is lost beyond.
func Slow(node string, megabits int, fabrics []string) error {
	return shape(node, fabrics, "replace", "tbf", "rate", fmt.Sprintf("%dmbit", megabits), "burst", "16kb", "latency", "300ms")
}

// HealSlow undoes a Slow.
func HealSlow(node string, fabrics []string) error { return shape(node, fabrics, "delete") }

// shape changes the queue before both ends of a node's links.
func shape(node string, fabrics []string, verb string, queue ...string) error {
	for _, f := range fabrics {
		for _, end := range [][]string{{"qdisc", verb, "dev", node + f, "root"}, {"-n", node, "qdisc", verb, "dev", f, "root"}} {
			if err := run(exec.Command("tc", append(end, queue...)...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Heal undoes a Cut of the same arguments; healing a whole one is an error.
func Heal(ports, fabrics []string) error { return change("delete", ports, fabrics) }

func change(verb string, ports, fabrics []string) error {
	var script strings.Builder
	for _, f := range fabrics {
		if len(ports) == 1 {
			fmt.Fprintf(&script, "%s element bridge lab alone { %q }\n", verb, ports[0]+f)
			continue
		}
		x, y := ports[0]+f, ports[1]+f
		fmt.Fprintf(&script, "%s element bridge lab apart { %q . %q, %q . %q }\n", verb, x, y, y, x)
	}
	return nft(script.String())
}

func nft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	return run(cmd)
}

func ip(args ...string) error { return run(exec.Command("ip", args...)) }

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.String(), err, strings.TrimSpace(string(out)))
	}
	return nil
}
