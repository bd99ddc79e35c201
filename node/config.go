package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Config is what a node is told when it starts. None of it is remembered: a
// node that starts with other addresses tells them to its cluster.
type Config struct {
	Dir        string       // its folder: identity, raft's log and snapshots
	Name       string       // proposed to the cluster when the node joins; the host's name if empty
	Addresses  []netip.Addr // one per fabric; the first also serves the other nodes
	PeerPort   uint16       // the other nodes, and who joins
	GossipPort uint16
	ISCSIPort  uint16
	Portals    []netip.AddrPort // every address at ISCSIPort if empty
	Witness    bool             // votes, and holds no disks and no portals

	// Ports for NVMe/TCP hosts, on the address of every portal; 0: none.
	NVMePort      uint16
	DiscoveryPort uint16
	Log           *slog.Logger
}

// Default ports. 3260 is IANA's for iSCSI, 4420 and 8009 for NVMe over Fabrics and
// its discovery.
const (
	DefaultPeerPort      = 7480
	DefaultGossipPort    = 7481
	DefaultISCSIPort     = 3260
	DefaultNVMePort      = 4420
	DefaultDiscoveryPort = 8009
)

// portalsMax bounds a discovery's answer.
const portalsMax = 16

// complete fills in what was left out, and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, problem("invalid", "a node needs a folder (--dir)")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if len(c.Addresses) == 0 {
		return c, problem("invalid", "a node needs an address at which the others reach it (--address)")
	}
	for _, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return c, problem("invalid", "%s is no address at which others can reach this node", a)
		}
	}
	if c.PeerPort == 0 || c.GossipPort == 0 || c.PeerPort == c.GossipPort {
		return c, problem("invalid", "the peer port and the gossip port must be given and differ")
	}
	if c.Witness && len(c.Portals) > 0 {
		return c, problem("invalid", "a witness serves no hosts, so it has no portals")
	}
	if len(c.Portals) == 0 && !c.Witness {
		for _, a := range c.Addresses {
			c.Portals = append(c.Portals, netip.AddrPortFrom(a, c.ISCSIPort))
		}
	}
	for i, p := range c.Portals {
		if p.Port() == 0 || p.Addr().IsUnspecified() || slices.Contains(c.Portals[:i], p) {
			return c, problem("invalid", "%s is no portal: it needs an address and a port that hosts can reach, once", p)
		}
	}
	if c.NVMePort == 0 {
		c.DiscoveryPort = 0
	}
	for _, text := range append(c.NVMeTexts(), c.DiscoveryTexts()...) {
		if slices.Contains(c.PortalTexts(), text) || c.NVMePort == c.DiscoveryPort {
			return c, problem("invalid", "the ports for iSCSI, NVMe/TCP and NVMe discovery must differ")
		}
	}
	if len(c.Portals) > portalsMax {
		return c, problem("invalid", "a node has at most %d portals", portalsMax)
	}
	if c.Name == "" {
		c.Name = hostName()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// hostName is the first label of the host's name, as a node's name.
func hostName() string {
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	name = strings.Trim(notInNames.ReplaceAllString(name, "-"), "-")
	if name == "" {
		return "node"
	}
	return name[:min(len(name), 39)]
}

// Peer is where the other nodes reach this one, host:port.
func (c Config) Peer() string {
	return netip.AddrPortFrom(c.Addresses[0], c.PeerPort).String()
}

func (c Config) gossip() string {
	return netip.AddrPortFrom(c.Addresses[0], c.GossipPort).String()
}

// PortalTexts are the portals, ip:port.
func (c Config) PortalTexts() (texts []string) {
	for _, p := range c.Portals {
		texts = append(texts, p.String())
	}
	return texts
}

// NVMeTexts are the NVMe/TCP portals, ip:port.
func (c Config) NVMeTexts() []string { return c.at(c.NVMePort) }

// DiscoveryTexts are where NVMe hosts are told of all nodes' portals, ip:port.
func (c Config) DiscoveryTexts() []string { return c.at(c.DiscoveryPort) }

// at is a port on the address of every portal.
func (c Config) at(port uint16) (texts []string) {
	for _, p := range c.Portals {
		if text := netip.AddrPortFrom(p.Addr(), port).String(); port != 0 && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// hostTexts are all addresses for hosts, ip:port.
func (c Config) hostTexts() []string {
	return slices.Concat(c.PortalTexts(), c.NVMeTexts(), c.DiscoveryTexts())
}

// SocketPath is where the node in a folder takes orders.
func SocketPath(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "api.sock")
	if len(path) > 107 { // unix(7): sun_path has 108 bytes with its NUL
		return "", fmt.Errorf("the folder's path %s is too long: its api.sock may have 107 characters", dir)
	}
	return path, nil
}
