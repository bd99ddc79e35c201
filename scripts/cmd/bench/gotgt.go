package main

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// gotgt serves a file by a target written in Go, which scripts/bench builds of its own module.
func (b *bench) gotgt(port uint16, file string) (*server, error) {
	name, err := sibling("gotgt")
	if err != nil {
		return nil, err
	}
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", port), iqn: "iqn.2026-11.com.example:gotgt", lun: 1}
	pid, _, err := b.start(name, "-port", strconv.Itoa(int(port)), "-name", s.iqn, "-file", file)
	if err != nil {
		return nil, err
	}
	s.pids = []int{pid}
	return s, eventually(func() error {
		c, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}
