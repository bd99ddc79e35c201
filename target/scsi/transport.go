package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// The TransportID of iSCSI (SPC-4 7.6.4.6): a name, with ",i,0x" and the ISID for
// an initiator port, ended by NULs to a multiple of four bytes.
const (
	transportDevice = 0x05 // FORMAT CODE 00b, PROTOCOL IDENTIFIER 5h
	transportPort   = 0x45 // FORMAT CODE 01b
	isidMark        = ",i,0x"
	maxISCSIName    = 223
	minTransportID  = 20 // ADDITIONAL LENGTH is no less
)

// transportID is an initiator port's TransportID.
func transportID(host string) []byte {
	d := []byte{transportPort, 0, 0, 0}
	if !strings.Contains(host, isidMark) {
		d[0] = transportDevice
	}
	d = append(d, nameString(host)...)
	for len(d) < 4+minTransportID {
		d = append(d, 0)
	}
	binary.BigEndian.PutUint16(d[2:], uint16(len(d)-4))
	return d
}

// parseTransportID reads the first TransportID of a list: the initiator ports
// that it names, and how long it is, 0 if it is not right. One that names a
// host without a port stands for the ports that are logged in here.
func (t *Target) parseTransportID(list []byte) (hosts []string, size int) {
	if len(list) < 4 {
		return nil, 0
	}
	size = 4 + int(binary.BigEndian.Uint16(list[2:]))
	if size < 4+minTransportID || size%4 != 0 || size > len(list) {
		return nil, 0
	}
	end := bytes.IndexByte(list[4:size], 0)
	if end < 0 {
		return nil, 0
	}
	text := string(list[4 : 4+end])
	name, isid, ofPort := strings.Cut(text, isidMark)
	if name == "" || len(name) > maxISCSIName {
		return nil, 0
	}
	switch list[0] {
	case transportPort:
		n, err := strconv.ParseUint(isid, 16, 48)
		if !ofPort || err != nil {
			return nil, 0
		}
		return []string{fmt.Sprintf("%s%s%012x", name, isidMark, n)}, size
	case transportDevice:
		hosts = t.portsOf(text)
		if ofPort || len(hosts) == 0 {
			return nil, 0
		}
		return hosts, size
	}
	return nil, 0
}

// portsOf are a host's initiator ports that are logged in here.
func (t *Target) portsOf(host string) (ports []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.nexuses {
		if n.host == host {
			ports = append(ports, n.id.Host)
		}
	}
	return ports
}
