package iscsi

import (
	"net/netip"
	"strconv"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
)

// textExchange is a text negotiation of several PDUs.
type textExchange struct {
	tag     uint32 // ours, NoTag or 0 when there is none
	request []byte // received so far
	answer  []byte // still to be sent
}

const maxTextRequest = 8192

// textRequest takes one PDU of a text exchange (RFC 7143 11.10): a request's
// part, or the asking for more of our answer.
func (c *conn) textRequest(h *pdu.Header) error {
	var p pdu.TextRequest
	p.Unmarshal(h)
	n := h.DataLength()
	x := &c.text
	if deliver, err := c.arrive(p.CmdSN, p.Immediate, nil); !deliver {
		return err
	}
	if p.TTT == pdu.NoTag {
		*x = textExchange{}
	} else if x.tag == 0 || p.TTT != x.tag {
		return c.decline(pdu.RejectProtocolError)
	}
	if len(x.request)+n > maxTextRequest || p.Final && p.Continue {
		*x = textExchange{}
		return c.decline(pdu.RejectProtocolError)
	}
	part := make([]byte, n)
	if err := c.readData(part, n); err != nil {
		return err
	}
	if len(x.answer) > 0 {
		c.sendText(p.ITT, p.LUN)
		return nil
	}
	x.request = append(x.request, part...)
	if p.Continue {
		x.tag = c.newTag()
		c.send(&pdu.TextResponse{ITT: p.ITT, TTT: x.tag, LUN: p.LUN}, true)
		return nil
	}
	ask, ok := session.Text(x.request, &c.params, &c.id)
	x.request = nil
	if !ok {
		c.reject(pdu.RejectProtocolError, false)
		return nil
	}
	c.mu.Lock()
	c.sendParams = c.params
	c.mu.Unlock()
	if ask.SendTargets {
		x.answer = c.listing(ask.Name)
	}
	c.sendText(p.ITT, p.LUN)
	return nil
}

// sendText sends as much of the answer as the initiator takes in one PDU.
func (c *conn) sendText(itt uint32, lun uint64) {
	x := &c.text
	n := min(len(x.answer), int(c.params.MaxSend))
	part := x.answer[:n]
	x.answer = x.answer[n:]
	resp := pdu.TextResponse{ITT: itt, TTT: pdu.NoTag, Final: true, DataLength: uint32(n)}
	if len(x.answer) > 0 {
		x.tag = c.newTag()
		resp.TTT, resp.Final, resp.Continue, resp.LUN = x.tag, false, true, lun
	} else {
		*x = textExchange{}
	}
	c.sendData(&resp, part)
}

// listing is the answer to SendTargets: every target that the initiator may
// see, or the named one, with every portal of every node (RFC 7143 appendix C).
func (c *conn) listing(name string) []byte {
	var b []byte
	for _, l := range c.srv.Directory.Listings(c.id.Initiator) {
		if name != "" && l.IQN != name {
			continue
		}
		b = pdu.AppendText(b, "TargetName", l.IQN)
		for _, p := range l.Portals {
			b = pdu.AppendText(b, "TargetAddress", portalText(p))
		}
	}
	return b
}

// portalText is a portal as in TargetAddress in discovery, with its group.
func portalText(p Portal) string {
	return addressText(p.Address) + "," + strconv.Itoa(int(p.Group))
}

// addressText is a portal as in TargetAddress: IPv6 addresses are in brackets.
func addressText(a netip.AddrPort) string {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}
