// Command memtarget serves a memory device as logical unit 0 of an iSCSI
// target until it is killed. Conformance tools and benchmarks run against it.
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
	iqn := flag.String("iqn", "iqn.2026-11.com.example:memory", "target name")
	size := flag.Uint64("size", 256<<20, "capacity, bytes")
	block := flag.Uint64("block", 512, "logical block, bytes: 512 or 4096")
	null := flag.Bool("null", false, "keep nothing: writes are dropped and reads give whatever the buffer holds")
	readOnly := flag.Bool("read-only", false, "refuse writes")
	profile := flag.String("profile", "", "address for net/http/pprof")
	verbose := flag.Bool("v", false, "log sessions and rejects")
	flag.Parse()
	if err := serve(*listen, *iqn, *size, *block, *null, *readOnly, *profile, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "memtarget:", err)
		os.Exit(1)
	}
}

func serve(listen, iqn string, size, block uint64, null, readOnly bool, profile string, verbose bool) error {
	if profile != "" {
		go func() { fmt.Fprintln(os.Stderr, "memtarget:", http.ListenAndServe(profile, nil)) }()
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	var device target.Device = targettest.NewMemory(targettest.Options{Blocks: size / block, BlockSize: uint32(block), ReadOnly: readOnly})
	if null {
		device = nullDevice{device}
	}
	unit := scsi.NewTarget(scsi.Config{Name: iqn})
	if err := unit.Add(0, device); err != nil {
		return err
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	config := iscsi.Config{
		Directory: &iscsi.Static{
			Targets: map[string]*scsi.Target{iqn: unit},
			Portals: []iscsi.Portal{{Address: address, Group: 1}},
			Group:   1,
		},
		Watch: target.NewStallWatch(),
	}
	if verbose {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	fmt.Printf("iscsi://%s/%s/0\n", address, iqn)
	return iscsi.NewServer(config).Serve(l)
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
