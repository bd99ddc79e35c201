package iscsi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

// What the newest iscsi-test-cu asks beyond Debian's: its families iSCSICHAP,
// iSCSISendTargets, iSCSINop and iSCSITMF.LogoutDuringIOAsync.

func TestSendTargetsInANormalSession(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	c.login(1)
	ask := func(text string) (pdu.Opcode, string) {
		c.put(&pdu.TextRequest{Immediate: true, Final: true, ITT: 5, TTT: pdu.NoTag, CmdSN: 1, DataLength: uint32(len(text))}, []byte(text))
		h, data := c.get()
		return h.Opcode(), string(data)
	}
	for _, text := range []string{"SendTargetsPlease=All\x00", "SendTargets=Alle\x00", "sendtargets=All\x00", "SendTargets=all\x00", "SendTargets", "=All\x00", "SendTargets=" + other + "\x00"} {
		if op, data := ask(text); op != pdu.OpReject || len(data) != pdu.HeaderSize {
			t.Errorf("%q: opcode %#x, %q", text, op, data)
		}
	}
	want := "TargetName=" + iqn + "\x00TargetAddress=" + r.address + ",1\x00TargetAddress=[fd00::2]:3260,2\x00"
	for _, text := range []string{"SendTargets=All\x00", "SendTargets=\x00", "SendTargets=" + iqn + "\x00"} {
		if op, data := ask(text); op != pdu.OpTextResponse || data != want {
			t.Errorf("%q: opcode %#x, %q", text, op, data)
		}
	}
}

func TestPingsWithDataAndWithout(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{MaxReceive: 512})
	for _, data := range []string{"nopping\x00", "", "x", strings.Repeat("y", 512)} {
		if err := s.Ping(r.ctx, []byte(data)); err != nil {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	}
}

// The commands before a logout end with their responses, then it is answered, and
// then the connection is closed.
func TestLogoutDuringIO(t *testing.T) {
	r := newRig(t, nil)
	for _, solicited := range []bool{false, true} {
		s := r.host(1, initiator.Options{InitialR2T: solicited, NoImmediateData: solicited})
		ends := make(chan error, 100)
		for n := range 100 {
			s.Submit(&initiator.Command{CDB: initiator.CDB16(0x8a, uint64(n)*64, 64), Out: bytes.Repeat([]byte{byte(n)}, 32768),
				Done: func(c *initiator.Command) { ends <- c.Result() }})
		}
		if err := s.Logout(r.ctx); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := r.wait(ends); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// say is a step of a login in its security stage.
func (c *raw) say(text string) (resp pdu.LoginResponse, answer string) {
	c.Helper()
	c.put(&pdu.LoginRequest{Transit: true, CSG: 0, NSG: 1, CmdSN: 1, DataLength: uint32(len(text))}, []byte(text))
	h, data := c.get()
	if resp.Unmarshal(&h); h.Opcode() != pdu.OpLoginResponse {
		c.Fatalf("opcode %#x", h.Opcode())
	}
	return resp, string(data)
}

func TestCHAPAsTheNewestConformanceToolSpeaksIt(t *testing.T) {
	r, g := newGuardedRig(t)
	g.secrets(false, both())
	challenge := func(list string) (c *raw, a session.Algorithm, answer string) {
		c = r.dial()
		c.say(string(c.identity()) + "AuthMethod=CHAP\x00")
		_, answer = c.say("CHAP_A=" + list + "\x00")
		a, _ = session.Choose(strings.TrimPrefix(strings.Split(answer, "\x00")[0], "CHAP_A="))
		return c, a, answer
	}
	for _, list := range []string{"", "56"} {
		c := r.dial()
		c.say(string(c.identity()) + "AuthMethod=CHAP\x00")
		if resp, answer := c.say("CHAP_A=" + list + "\x00"); resp.Status != 0x0201 || answer != "" {
			t.Errorf("CHAP_A=%s: %v %q", list, &resp, answer)
		}
		c.ends()
	}
	seen := map[string]bool{}
	for what, proof := range map[string]struct {
		name, response func([]byte) string
		ok             bool
	}{
		"hexadecimal":          {plain, hexadecimal, true},
		"base64":               {plain, inBase64, true},
		"a name in hex":        {hexadecimal, hexadecimal, true},
		"oversize base64":      {plain, func(b []byte) string { return inBase64(bytes.Repeat(b, 100)) }, false},
		"base64 cut short":     {plain, func(b []byte) string { return strings.TrimRight(inBase64(b), "=") }, false},
		"base64 not marked so": {plain, func(b []byte) string { return strings.TrimPrefix(inBase64(b), "0b") }, false},
	} {
		c, a, answer := challenge("8,7,6,5")
		pairs, err := pdu.UnmarshalText([]byte(answer))
		if err != nil || len(pairs) != 3 || a != session.SHA3256 {
			t.Fatalf("%q, %v", answer, err)
		}
		if seen[pairs[2].Value] {
			t.Error("a challenge comes twice")
		}
		seen[pairs[2].Value] = true
		question, err := session.DecodeBinary(pairs[2].Value, 64)
		if err != nil || len(question) < 16 {
			t.Fatalf("challenge %s, %v", pairs[2].Value, err)
		}
		identifier := byte(0)
		for _, digit := range pairs[1].Value {
			identifier = 10*identifier + byte(digit-'0')
		}
		response := a.Response(identifier, []byte(secret), question)
		resp, _ := c.say("CHAP_N=" + proof.name([]byte("web1")) + "\x00CHAP_R=" + proof.response(response) + "\x00")
		if ok := resp.Status == 0 && resp.Transit; ok != proof.ok || !ok && resp.Status != 0x0201 {
			t.Errorf("%s: %v", what, &resp)
		}
	}
}

func plain(b []byte) string       { return string(b) }
func hexadecimal(b []byte) string { return session.EncodeBinary(b, false) }
func inBase64(b []byte) string    { return session.EncodeBinary(b, true) }

// Parameter data is cut at the allocation length, its own length field is not, and
// the residual tells what is missing of what the host expected.
func TestParameterDataAndItsResidual(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	for name, c := range map[string]struct {
		cdb    []byte
		at     int // of the allocation length, 2 or 4 bytes
		size   int
		length func([]byte) int // what the data says of its own size
	}{
		"INQUIRY": {[]byte{0x12, 0, 0, 0, 0, 0}, 3, 2, func(b []byte) int { return int(b[4]) + 5 }},
		"INQUIRY, page 83h": {[]byte{0x12, 1, 0x83, 0, 0, 0}, 3, 2, func(b []byte) int {
			return int(binary.BigEndian.Uint16(b[2:])) + 4
		}},
		"REPORT TARGET PORT GROUPS": {[]byte{0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 6, 4, func(b []byte) int {
			return int(binary.BigEndian.Uint32(b)) + 4
		}},
		"REPORT TARGET PORT GROUPS, extended": {[]byte{0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 6, 4, func(b []byte) int {
			return int(binary.BigEndian.Uint32(b)) + 4
		}},
	} {
		whole := 0
		for _, allocation := range []int{65535, 0, 1, 4, 5, 8, 36, 64, 255, 256} {
			cdb := append([]byte(nil), c.cdb...)
			if c.size == 2 {
				binary.BigEndian.PutUint16(cdb[c.at:], uint16(allocation))
			} else {
				binary.BigEndian.PutUint32(cdb[c.at:], uint32(allocation))
			}
			for _, expected := range []int{allocation, allocation / 2, allocation + 100} {
				cmd := &initiator.Command{CDB: cdb, In: make([]byte, 70000), Expected: uint32(expected), HasExpected: true}
				if err := s.Do(r.ctx, cmd); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if whole == 0 {
					whole = c.length(cmd.In)
				}
				moved := min(allocation, whole) // by the CDB
				over, under := max(0, moved-expected), max(0, expected-moved)
				if int(cmd.Received) != min(moved, expected) || int(cmd.Residual) != over+under || cmd.Overflow != (over > 0) || cmd.Underflow != (under > 0) {
					t.Errorf("%s, allocation %d, expected %d: received %d of %d, o=%t u=%t residual %d",
						name, allocation, expected, cmd.Received, whole, cmd.Overflow, cmd.Underflow, cmd.Residual)
				}
				if cmd.Received >= 5 && c.length(cmd.In) != whole {
					t.Errorf("%s, allocation %d: its length says %d, not %d", name, allocation, c.length(cmd.In), whole)
				}
			}
		}
	}
}
