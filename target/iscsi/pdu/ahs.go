package pdu

import (
	"encoding/binary"
	"errors"
)

// AHS are the additional header segments of a SCSI command (RFC 7143 11.2.2).
type AHS struct {
	CDB              []byte // bytes of the CDB from its 17th on; nil without the segment
	BidirectionalLen uint32 // bidirectional read expected data transfer length, bytes
	Bidirectional    bool
}

const (
	ahsExtendedCDB   = 1
	ahsBidirectional = 2
	maxExtendedCDB   = 260 - 16
)

var errAHS = errors.New("iscsi: malformed additional header segment")

// UnmarshalAHS reads the segments in b. CDB aliases b.
func UnmarshalAHS(b []byte) (AHS, error) {
	var a AHS
	for len(b) > 0 {
		if len(b) < 4 {
			return AHS{}, errAHS
		}
		// The length counts from the 4th byte, which is part of the segment's own content.
		length, kind := int(binary.BigEndian.Uint16(b)), b[2]
		size := 3 + length
		if length < 1 || size+Padding(size) > len(b) {
			return AHS{}, errAHS
		}
		if err := a.segment(kind, b[4:size]); err != nil {
			return AHS{}, err
		}
		b = b[size+Padding(size):]
	}
	return a, nil
}

func (a *AHS) segment(kind byte, content []byte) error {
	switch {
	case kind == ahsExtendedCDB && a.CDB == nil && len(content) > 0 && len(content) <= maxExtendedCDB:
		a.CDB = content
	case kind == ahsBidirectional && !a.Bidirectional && len(content) == 4:
		a.Bidirectional, a.BidirectionalLen = true, binary.BigEndian.Uint32(content)
	default:
		return errAHS
	}
	return nil
}

// Append writes the segments after b; their length is a multiple of 4 bytes.
func (a *AHS) Append(b []byte) []byte {
	if len(a.CDB) > 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.CDB)+1))
		b = append(b, ahsExtendedCDB, 0)
		b = append(b, a.CDB...)
		b = append(b, make([]byte, Padding(len(a.CDB)))...)
	}
	if a.Bidirectional {
		b = append(b, 0, 5, ahsBidirectional, 0)
		b = binary.BigEndian.AppendUint32(b, a.BidirectionalLen)
	}
	return b
}
