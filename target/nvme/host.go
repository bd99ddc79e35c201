package nvme

import (
	"fmt"
	"strings"

	"ashlar/target/reserve"
)

// Host is who connects: its NQN, and its Host Identifier, by which reservations
// know it.
type Host struct {
	NQN string
	ID  [16]byte
}

const idMark = ",h,0x"

// Name is the host as reservations have it, whatever controller it uses.
func (h Host) Name() string { return fmt.Sprintf("%s%s%x", h.NQN, idMark, h.ID) }

// nexusHost is the initiator port of one of the host's controllers: what comes
// after ",i," is not of the host.
func (h Host) nexusHost(controller uint16) string {
	return fmt.Sprintf("%s,i,0x%04x", h.Name(), controller)
}

// reserveNexus is the host in reservations: through every port.
func (h Host) reserveNexus() reserve.Nexus { return reserve.Nexus{Host: h.Name()} }

// hostID is the Host Identifier in a registrant's name.
func hostID(name string) (id [16]byte, ok bool) {
	_, text, ok := strings.Cut(name, idMark)
	if !ok || len(text) != 32 {
		return id, false
	}
	for i := range id {
		if _, err := fmt.Sscanf(text[2*i:2*i+2], "%02x", &id[i]); err != nil {
			return id, false
		}
	}
	return id, true
}
