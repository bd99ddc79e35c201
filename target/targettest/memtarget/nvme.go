package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"ashlar/target"
	"ashlar/target/nvme"
	"ashlar/target/nvmetcp"
)

// serveNVMe serves a device over NVMe/TCP as well.
func serveNVMe(listen, nqn string, device target.Device, verbose bool) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	subsystem := nvme.NewSubsystem(nvme.SubsystemConfig{NQN: nqn, Serial: device.Info().Serial})
	if err := subsystem.Add(1, device); err != nil {
		return err
	}
	portal := nvme.Portal{Address: netip.MustParseAddrPort(l.Addr().String()), ID: 1}
	config := nvmetcp.Config{
		Directory: &nvmetcp.Static{Subsystems: map[string]*nvme.Subsystem{nqn: subsystem}, Portals: []nvme.Portal{portal}, Group: 1},
		Watch:     target.NewStallWatch(),
	}
	if verbose {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	fmt.Printf("nvme-tcp://%s/%s\n", portal.Address, nqn)
	go nvmetcp.NewServer(config).Serve(l) //nolint:errcheck // it serves until the process ends
	return nil
}
