package auth

import (
	"encoding/binary"
	"fmt"
)

// What a message is about, and which it is. AUTH_Negotiate and AUTH_Failure are
// common to all protocols.
const (
	typeCommon = 0x00
	typeDHCHAP = 0x01

	idNegotiate = 0x00
	idFailure2  = 0xf0
	idFailure1  = 0xf1
	idChallenge = 0x01
	idReply     = 0x02
	idSuccess1  = 0x03
	idSuccess2  = 0x04
)

const (
	headerSize     = 6 // type, id, reserved, transaction
	negotiateSize  = 8
	descriptorSize = 64
	fixedSize      = 16 // of Challenge, Reply, Success1 and Success2
	failureSize    = 8

	protocolDHCHAP = 0x01
	hashesAt       = 4  // in a descriptor
	groupsAt       = 34 // in a descriptor
	listMax        = 30 // hashes, or groups

	// MessageMax is the length of the longest message, bytes: a Reply in the largest
	// group.
	MessageMax = fixedSize + 2*64 + 1024
)

// Reason is why an authentication failed: the "reason code explanation" of an
// AUTH_Failure, whose only reason code is 01h.
type Reason uint8

const (
	Failed           Reason = 1 // a response is wrong
	ProtocolUnusable Reason = 2
	ConcatMismatch   Reason = 3
	HashUnusable     Reason = 4
	GroupUnusable    Reason = 5
	IncorrectPayload Reason = 6
	IncorrectMessage Reason = 7
)

const failureCode = 1

func (r Reason) String() string {
	switch r {
	case Failed:
		return "authentication failed"
	case ProtocolUnusable:
		return "authentication protocol not usable"
	case ConcatMismatch:
		return "secure channel concatenation mismatch"
	case HashUnusable:
		return "hash function not usable"
	case GroupUnusable:
		return "DH group not usable"
	case IncorrectPayload:
		return "incorrect payload"
	case IncorrectMessage:
		return "incorrect protocol message"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Message is one of those below.
type Message interface {
	// Append appends the message's bytes.
	Append([]byte) []byte
	// parse sets the message from its bytes, and gives a reason if they are none.
	parse([]byte) Reason
	String() string
}

// Negotiate is AUTH_Negotiate (8.13.5.2). Lists hold at most 30.
type Negotiate struct {
	Transaction uint16
	Concat      uint8 // SC_C: what kind of secure channel concatenation is asked for
	Protocols   []Protocol
}

// Protocol is one that a host offers. Only DH-HMAC-CHAP's have lists.
type Protocol struct {
	ID     uint8
	Hashes []Hash
	Groups []Group
}

// Challenge is DH-HMAC-CHAP_Challenge (8.13.5.3).
type Challenge struct {
	Transaction uint16
	Hash        Hash
	Group       Group
	Sequence    uint32 // S1
	Value       []byte // C1, of the hash's size
	DH          []byte // g^x mod p
}

// Reply is DH-HMAC-CHAP_Reply (8.13.5.4).
type Reply struct {
	Transaction uint16
	Response    []byte // R1
	Sequence    uint32 // S2, 0 if the controller need not prove itself
	Challenge   []byte // C2, of R1's size; nil if the controller need not prove itself
	DH          []byte // g^y mod p
}

// Success1 is DH-HMAC-CHAP_Success1 (8.13.5.5).
type Success1 struct {
	Transaction uint16
	Size        uint8  // of the hash
	Response    []byte // R2, of that size; nil if the host has not asked for it
}

// Success2 is DH-HMAC-CHAP_Success2 (8.13.5.6).
type Success2 struct{ Transaction uint16 }

// Failure is AUTH_Failure1, of the controller, or AUTH_Failure2, of the host
// (8.13.5).
type Failure struct {
	FromHost    bool
	Transaction uint16
	Reason      Reason
}

// Parse reads a message. Its byte fields are part of b. What a controller says may
// have other bytes behind it, since a host fetches more than there may be.
func Parse(b []byte) (Message, Reason) {
	if len(b) < headerSize {
		return nil, IncorrectPayload
	}
	var m Message
	switch [2]byte{b[0], b[1]} {
	case [2]byte{typeCommon, idNegotiate}:
		m = &Negotiate{}
	case [2]byte{typeDHCHAP, idChallenge}:
		m = &Challenge{}
	case [2]byte{typeDHCHAP, idReply}:
		m = &Reply{}
	case [2]byte{typeDHCHAP, idSuccess1}:
		m = &Success1{}
	case [2]byte{typeDHCHAP, idSuccess2}:
		m = &Success2{}
	case [2]byte{typeCommon, idFailure1}, [2]byte{typeCommon, idFailure2}:
		m = &Failure{}
	default:
		return nil, IncorrectMessage
	}
	return m, m.parse(b)
}

// grow appends a zeroed message of n bytes with its header, and returns it for its
// other fields.
func grow(b []byte, n int, kind, id uint8, transaction uint16) (all, message []byte) {
	all = append(b, make([]byte, n)...)
	message = all[len(b):]
	message[0], message[1] = kind, id
	binary.LittleEndian.PutUint16(message[4:], transaction)
	return all, message
}

func transactionOf(b []byte) uint16 { return binary.LittleEndian.Uint16(b[4:]) }

func (m *Negotiate) Append(b []byte) []byte {
	all, to := grow(b, negotiateSize+len(m.Protocols)*descriptorSize, typeCommon, idNegotiate, m.Transaction)
	to[6], to[7] = m.Concat, uint8(len(m.Protocols))
	for i, p := range m.Protocols {
		d := to[negotiateSize+i*descriptorSize:][:descriptorSize]
		d[0] = p.ID
		if p.ID != protocolDHCHAP {
			continue
		}
		d[2], d[3] = uint8(len(p.Hashes)), uint8(len(p.Groups))
		for j, h := range p.Hashes {
			d[hashesAt+j] = uint8(h)
		}
		for j, g := range p.Groups {
			d[groupsAt+j] = uint8(g)
		}
	}
	return all
}

func (m *Negotiate) parse(b []byte) Reason {
	if len(b) < negotiateSize || len(b) != negotiateSize+int(b[7])*descriptorSize {
		return IncorrectPayload
	}
	m.Transaction, m.Concat = transactionOf(b), b[6]
	for d := b[negotiateSize:]; len(d) > 0; d = d[descriptorSize:] {
		p := Protocol{ID: d[0]}
		if p.ID == protocolDHCHAP {
			hashes, groups := int(d[2]), int(d[3])
			if hashes > listMax || groups > listMax {
				return IncorrectPayload
			}
			for _, h := range d[hashesAt:][:hashes] {
				p.Hashes = append(p.Hashes, Hash(h))
			}
			for _, g := range d[groupsAt:][:groups] {
				p.Groups = append(p.Groups, Group(g))
			}
		}
		m.Protocols = append(m.Protocols, p)
	}
	return 0
}

func (m *Negotiate) String() string {
	return fmt.Sprintf("AUTH_Negotiate tid=%d sc_c=%d protocols=%v", m.Transaction, m.Concat, m.Protocols)
}

func (m *Challenge) Append(b []byte) []byte {
	all, to := grow(b, fixedSize, typeDHCHAP, idChallenge, m.Transaction)
	to[6], to[8], to[9] = uint8(len(m.Value)), uint8(m.Hash), uint8(m.Group)
	binary.LittleEndian.PutUint16(to[10:], uint16(len(m.DH)))
	binary.LittleEndian.PutUint32(to[12:], m.Sequence)
	return append(append(all, m.Value...), m.DH...)
}

func (m *Challenge) parse(b []byte) Reason {
	if len(b) < fixedSize {
		return IncorrectPayload
	}
	hl, dh := int(b[6]), int(binary.LittleEndian.Uint16(b[10:]))
	if len(b) < fixedSize+hl+dh {
		return IncorrectPayload
	}
	m.Transaction, m.Hash, m.Group = transactionOf(b), Hash(b[8]), Group(b[9])
	m.Sequence = binary.LittleEndian.Uint32(b[12:])
	m.Value, m.DH = part(b, fixedSize, hl), part(b, fixedSize+hl, dh)
	return 0
}

func (m *Challenge) String() string {
	return fmt.Sprintf("DH-HMAC-CHAP_Challenge tid=%d hash=%v group=%v s1=%d c1=%d bytes dh=%d bytes",
		m.Transaction, m.Hash, m.Group, m.Sequence, len(m.Value), len(m.DH))
}

// Append gives the challenge its room also where there is none (CVALID 0).
func (m *Reply) Append(b []byte) []byte {
	all, to := grow(b, fixedSize, typeDHCHAP, idReply, m.Transaction)
	to[6], to[8] = uint8(len(m.Response)), bit(m.Challenge != nil)
	binary.LittleEndian.PutUint16(to[10:], uint16(len(m.DH)))
	binary.LittleEndian.PutUint32(to[12:], m.Sequence)
	challenge := m.Challenge
	if challenge == nil {
		challenge = make([]byte, len(m.Response))
	}
	return append(append(append(all, m.Response...), challenge...), m.DH...)
}

func (m *Reply) parse(b []byte) Reason {
	if len(b) < fixedSize {
		return IncorrectPayload
	}
	hl, dh := int(b[6]), int(binary.LittleEndian.Uint16(b[10:]))
	if len(b) != fixedSize+2*hl+dh || b[8] > 1 || hl == 0 {
		return IncorrectPayload
	}
	m.Transaction, m.Sequence = transactionOf(b), binary.LittleEndian.Uint32(b[12:])
	m.Response, m.DH = part(b, fixedSize, hl), part(b, fixedSize+2*hl, dh)
	if b[8] == 1 {
		m.Challenge = part(b, fixedSize+hl, hl)
	}
	return 0
}

func (m *Reply) String() string {
	return fmt.Sprintf("DH-HMAC-CHAP_Reply tid=%d r1=%d bytes s2=%d c2=%d bytes dh=%d bytes",
		m.Transaction, len(m.Response), m.Sequence, len(m.Challenge), len(m.DH))
}

func (m *Success1) Append(b []byte) []byte {
	all, to := grow(b, fixedSize, typeDHCHAP, idSuccess1, m.Transaction)
	to[6], to[8] = m.Size, bit(m.Response != nil)
	return append(all, m.Response...)
}

func (m *Success1) parse(b []byte) Reason {
	if len(b) < fixedSize || b[8] > 1 {
		return IncorrectPayload
	}
	m.Transaction, m.Size = transactionOf(b), b[6]
	if b[8] == 0 {
		return 0
	}
	if m.Size == 0 || len(b) < fixedSize+int(m.Size) {
		return IncorrectPayload
	}
	m.Response = part(b, fixedSize, int(m.Size))
	return 0
}

func (m *Success1) String() string {
	return fmt.Sprintf("DH-HMAC-CHAP_Success1 tid=%d hl=%d r2=%d bytes", m.Transaction, m.Size, len(m.Response))
}

func (m *Success2) Append(b []byte) []byte {
	all, _ := grow(b, fixedSize, typeDHCHAP, idSuccess2, m.Transaction)
	return all
}

func (m *Success2) parse(b []byte) Reason {
	if len(b) != fixedSize {
		return IncorrectPayload
	}
	m.Transaction = transactionOf(b)
	return 0
}

func (m *Success2) String() string {
	return fmt.Sprintf("DH-HMAC-CHAP_Success2 tid=%d", m.Transaction)
}

func (m *Failure) Append(b []byte) []byte {
	id := uint8(idFailure1)
	if m.FromHost {
		id = idFailure2
	}
	all, to := grow(b, failureSize, typeCommon, id, m.Transaction)
	to[6], to[7] = failureCode, uint8(m.Reason)
	return all
}

func (m *Failure) parse(b []byte) Reason {
	if len(b) < failureSize || b[6] != failureCode {
		return IncorrectPayload
	}
	m.FromHost, m.Transaction, m.Reason = b[1] == idFailure2, transactionOf(b), Reason(b[7])
	return 0
}

func (m *Failure) String() string {
	name := "AUTH_Failure1"
	if m.FromHost {
		name = "AUTH_Failure2"
	}
	return fmt.Sprintf("%s tid=%d %v", name, m.Transaction, m.Reason)
}

// part is n bytes of b, nil for none.
func part(b []byte, at, n int) []byte {
	if n == 0 {
		return nil
	}
	return b[at : at+n : at+n]
}

func bit(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}
