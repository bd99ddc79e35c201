// Command gotgt serves a file as a logical unit by gotgt, a target written in Go: a peer of the
// benchmark, in a module of its own, so that nothing of it becomes part of the project.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/gostor/gotgt/pkg/config"
	_ "github.com/gostor/gotgt/pkg/port/iscsit"
	"github.com/gostor/gotgt/pkg/scsi"
	_ "github.com/gostor/gotgt/pkg/scsi/backingstore"
	"github.com/sirupsen/logrus"
)

func main() {
	// It listens on all addresses, and knows its portals by the address that a connection came to.
	port := flag.Int("port", 3260, "where it listens")
	name := flag.String("name", "iqn.2026-11.com.example:gotgt", "of the target")
	file := flag.String("file", "", "whose content is LUN 1")
	flag.Parse()
	logrus.SetLevel(logrus.ErrorLevel)
	if err := serve(*port, *name, *file); err != nil {
		fmt.Fprintln(os.Stderr, "gotgt:", err)
		os.Exit(1)
	}
}

func serve(port int, name, file string) error {
	const device = 1
	c := &config.Config{
		Storages:     []config.BackendStorage{{DeviceID: device, Path: "file:" + file, Online: true, BlockShift: 9}},
		ISCSIPortals: []config.ISCSIPortalInfo{{Portal: "127.0.0.1:" + strconv.Itoa(port)}},
		ISCSITargets: map[string]config.ISCSITarget{name: {TPGTs: map[string][]uint64{"1": {0}}, LUNs: map[string]uint64{"1": device}}},
	}
	if err := scsi.InitSCSILUMap(c); err != nil {
		return err
	}
	d, err := scsi.NewTargetDriver("iscsi", scsi.NewSCSITargetService())
	if err != nil {
		return err
	}
	if err := d.NewTarget(name, c); err != nil {
		return err
	}
	return d.Run(port)
}
