// Command memtarget serves a memory device as logical unit 0 of an iSCSI
// target, and with -nvme as namespace 1 of an NVMe subsystem, until it is killed. Conformance tools and benchmarks run against it.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof"
	"net/netip"
	"os"

	"ashlar/target"
	"ashlar/target/iscsi"
	"ashlar/target/scsi"
	"ashlar/target/targettest"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve at")
	second := flag.String("second", "", "address of another portal group, as of another node")
	nvmeListen := flag.String("nvme", "", "address to serve NVMe/TCP at as well")
	nqn := flag.String("nqn", "nqn.2026-11.com.example:memory", "subsystem name")
	iqn := flag.String("iqn", "iqn.2026-11.com.example:memory", "target name")
	size := flag.Uint64("size", 256<<20, "capacity, bytes")
	block := flag.Uint64("block", 512, "logical block, bytes: 512 or 4096")
	null := flag.Bool("null", false, "keep nothing: writes are dropped and reads give whatever the buffer holds")
	readOnly := flag.Bool("read-only", false, "refuse writes")
	profile := flag.String("profile", "", "address for net/http/pprof")
	verbose := flag.Bool("v", false, "log sessions and rejects")
	flag.Parse()
	front := func(d target.Device) error { return nil }
	if *nvmeListen != "" {
		front = func(d target.Device) error { return serveNVMe(*nvmeListen, *nqn, d, *verbose) }
	}
	if err := serve(front, *listen, *second, *iqn, *size, *block, *null, *readOnly, *profile, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "memtarget:", err)
		os.Exit(1)
	}
}

func serve(also func(target.Device) error, listen, second, iqn string, size, block uint64, null, readOnly bool, profile string, verbose bool) error {
	if profile != "" {
		go func() { fmt.Fprintln(os.Stderr, "memtarget:", http.ListenAndServe(profile, nil)) }()
	}
	options := targettest.Options{Blocks: size / block, BlockSize: uint32(block), ReadOnly: readOnly}
	addresses := []string{listen}
	if second != "" {
		addresses = append(addresses, second)
		options.Groups = []target.PortGroup{{ID: 1, State: target.Optimized}, {ID: 2, State: target.NonOptimized}}
	}
	var listeners []net.Listener
	var portals []iscsi.Portal
	for i, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		portals = append(portals, iscsi.Portal{Address: netip.MustParseAddrPort(l.Addr().String()), Group: uint16(i + 1)})
	}
	memory := targettest.NewMemory(options)
	ended := make(chan error)
	for i, l := range listeners {
		var device target.Device = memory.Through(portals[i].Group)
		if null {
			device = nullDevice{device}
		}
		if i == 0 {
			if err := also(device); err != nil {
				return err
			}
		}
		server, err := node(iqn, device, portals, portals[i].Group, verbose)
		if err != nil {
			return err
		}
		fmt.Printf("iscsi://%s/%s/0\n", portals[i].Address, iqn)
		go func() { ended <- server.Serve(l) }()
	}
	return <-ended
}

// node is a server of one portal group.
func node(iqn string, device target.Device, portals []iscsi.Portal, group uint16, verbose bool) (*iscsi.Server, error) {
	unit := scsi.NewTarget(scsi.Config{Name: iqn})
	if err := unit.Add(0, device); err != nil {
		return nil, err
	}
	config := iscsi.Config{
		Directory: &iscsi.Static{Targets: map[string]*scsi.Target{iqn: unit}, Portals: portals, Group: group},
		Watch:     target.NewStallWatch(),
	}
	if verbose {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return iscsi.NewServer(config), nil
}

// nullDevice answers reads and writes at once, so that only the front end is
// measured.
type nullDevice struct{ target.Device }

func (d nullDevice) Submit(op *target.Op) {
	if op.Kind == target.Read || op.Kind == target.Write {
		op.Status = target.OK
		op.Done(op)
		return
	}
	d.Device.Submit(op)
}
