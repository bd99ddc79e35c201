// Package pdu is the iSCSI PDU codec (RFC 7143 section 11): one struct per PDU
// with Marshal, Unmarshal and String, additional header segments, text keys and
// CRC32C digests. It is pure: bytes in, values out.
//
// A PDU on the wire is
//
//	basic header segment, 48 bytes
//	additional header segments, TotalAHSLength words of 4 bytes
//	header digest, 4 bytes, if negotiated
//	data segment, DataSegmentLength bytes, padded with zeros to 4 bytes
//	data digest, 4 bytes, if negotiated (only with a data segment)
//
// The structs hold the basic header's fields, host byte order. LUN is the
// 8-byte logical unit number as on the wire. Reserved fields are written as
// zero and ignored when read.
package pdu
