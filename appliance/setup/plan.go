package setup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Wanted is what the operator asked for.
type Wanted struct {
	Name      string       // of the node; empty: the machine's
	Addresses []netip.Addr // of the node, once per fabric; empty: the machine's only one
	Disks     []string     // paths of block devices
	AllDisks  bool         // all that hold nothing, besides
	Force     bool         // also disks that hold data
}

// Server is what was found of the machine.
type Server struct {
	Root      bool
	Systemd   bool
	Unit      bool // the package's service is installed
	Addresses []netip.Addr
	Disks     []Disk
}

// Disk is a whole block device.
type Disk struct {
	Path  string `json:"path"`
	Bytes uint64 `json:"bytes"`
	InUse string `json:"in_use,omitempty"` // by what this machine uses it; empty: by nothing
	Data  bool   `json:"data,omitempty"`   // it holds something, in use or not
}

// Problem is why a server cannot become a node as it was asked for.
type Problem struct{ Detail, Next string }

func (p *Problem) Error() string { return p.Detail }

func problem(next, format string, args ...any) *Problem {
	return &Problem{Detail: fmt.Sprintf(format, args...), Next: next}
}

// Plan is what will be done.
type Plan struct {
	Addresses []netip.Addr `json:"addresses"`
	Disks     []Disk       `json:"disks"`
	Left      []Disk       `json:"left"` // disks that stay as they are
	Settings  string       `json:"-"`    // of the service, as environment variables
}

// Decide holds what was asked for against what there is. Nothing is done while
// anything about it is wrong.
func Decide(s Server, w Wanted) (*Plan, error) {
	switch {
	case !s.Root:
		return nil, problem("run it with sudo", "a server becomes a node by its administrator only")
	case !s.Systemd:
		return nil, problem("start the node by hand: ashlar serve --help", "this machine is not run by systemd, which is to run the node")
	case !s.Unit:
		return nil, problem("install the package: apt install ./ashlar_VERSION_amd64.deb", "there is no service ashlar on this machine")
	}
	p := &Plan{Addresses: w.Addresses, Disks: []Disk{}, Left: []Disk{}}
	if len(p.Addresses) == 0 {
		if len(s.Addresses) != 1 {
			return nil, problem("--address IP, once per fabric", "this machine has %s: say which the node is to use", count(s.Addresses, "no address"))
		}
		p.Addresses = s.Addresses
	}
	for i, a := range p.Addresses {
		if !slices.Contains(s.Addresses, a) {
			return nil, problem("give the address to an interface first", "%v is no address of this machine, which has %s", a, count(s.Addresses, "none"))
		}
		if slices.Contains(p.Addresses[:i], a) {
			return nil, problem("", "%v is named twice", a)
		}
	}
	if err := p.pick(s, w); err != nil {
		return nil, err
	}
	p.Settings = settings(w.Name, p.Addresses)
	return p, nil
}

func (p *Plan) pick(s Server, w Wanted) error {
	for _, path := range w.Disks {
		i := slices.IndexFunc(s.Disks, func(d Disk) bool { return d.Path == path })
		switch {
		case i < 0:
			return problem("lsblk lists them", "%s is no disk of this machine", path)
		case s.Disks[i].InUse != "":
			return problem("", "%s is in use: %s", path, s.Disks[i].InUse)
		case s.Disks[i].Data && !w.Force:
			return problem("--force overwrites what is on it", "%s holds data", path)
		}
	}
	for _, d := range s.Disks {
		if slices.Contains(w.Disks, d.Path) || w.AllDisks && d.InUse == "" && !d.Data {
			p.Disks = append(p.Disks, d)
		} else {
			p.Left = append(p.Left, d)
		}
	}
	return nil
}

func count(all []netip.Addr, none string) string {
	if len(all) == 0 {
		return none
	}
	var words []string
	for _, a := range all {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// settings are what the service's unit reads, one variable on each line
// (systemd.exec(5), EnvironmentFile).
func settings(name string, addresses []netip.Addr) string {
	text := "# The node's settings, written by `ashlar setup`. `ashlar serve --help` lists all.\n" +
		"ASHLAR_ADDRESS=" + strings.ReplaceAll(count(addresses, ""), " ", "") + "\n"
	if name != "" {
		text += "ASHLAR_NAME=" + name + "\n"
	}
	return text
}
