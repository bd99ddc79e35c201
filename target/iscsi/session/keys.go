package session

import (
	"slices"
	"strconv"
	"strings"
)

// Params are what both sides agreed on at login. Lengths are in bytes.
type Params struct {
	HeaderDigest, DataDigest bool
	MaxSend                  uint32 // the initiator's MaxRecvDataSegmentLength
	MaxReceive               uint32 // ours
	MaxBurst, FirstBurst     uint32
	InitialR2T               bool
	ImmediateData            bool
	MaxOutstandingR2T        uint32
	Time2Wait, Time2Retain   uint32 // seconds
}

// Defaults hold for each key that was not negotiated (RFC 7143 13).
func Defaults() Params {
	return Params{
		MaxSend: 8192, MaxReceive: 8192, MaxBurst: 262144, FirstBurst: 65536,
		InitialR2T: true, ImmediateData: true, MaxOutstandingR2T: 1, Time2Wait: 2, Time2Retain: 20,
	}
}

// rule is how the result follows from the offer and our own value.
type rule uint8

const (
	declare rule = iota // the initiator's value holds for it; no answer
	minimum
	maximum
	and
	or
	choice // the first of the offered list that we support
	refuse // obsolete: always answered with the one value in list
)

// key is a row of the negotiation table. Booleans are numbers 0 and 1; a
// choice is its index in list.
type key struct {
	name     string
	rule     rule
	ours     uint32
	min, max uint32
	list     []string
	normal   bool // Irrelevant in a discovery session
	set      func(*Params, uint32)
}

const (
	// MaxReceive is our MaxRecvDataSegmentLength, bytes.
	MaxReceive = 262144
	maxBurst   = 16776192
	firstBurst = 262144
	maxR2Ts    = 16
	maxLength  = 1<<24 - 1
)

func on(n uint32) bool { return n != 0 }

// table is every operational key that we understand (RFC 7143 13, RFC 7144 7.1.1).
var table = []key{
	{name: "HeaderDigest", rule: choice, list: []string{"None", "CRC32C"}, set: func(p *Params, n uint32) { p.HeaderDigest = on(n) }},
	{name: "DataDigest", rule: choice, list: []string{"None", "CRC32C"}, set: func(p *Params, n uint32) { p.DataDigest = on(n) }},
	{name: "MaxRecvDataSegmentLength", rule: declare, min: 512, max: maxLength, set: func(p *Params, n uint32) { p.MaxSend = n }},
	{name: "MaxConnections", rule: minimum, ours: 1, min: 1, max: 65535, normal: true},
	{name: "InitialR2T", rule: or, ours: 0, normal: true, set: func(p *Params, n uint32) { p.InitialR2T = on(n) }},
	{name: "ImmediateData", rule: and, ours: 1, normal: true, set: func(p *Params, n uint32) { p.ImmediateData = on(n) }},
	{name: "MaxBurstLength", rule: minimum, ours: maxBurst, min: 512, max: maxLength, normal: true, set: func(p *Params, n uint32) { p.MaxBurst = n }},
	{name: "FirstBurstLength", rule: minimum, ours: firstBurst, min: 512, max: maxLength, normal: true, set: func(p *Params, n uint32) { p.FirstBurst = n }},
	{name: "MaxOutstandingR2T", rule: minimum, ours: maxR2Ts, min: 1, max: 65535, normal: true, set: func(p *Params, n uint32) { p.MaxOutstandingR2T = n }},
	{name: "DefaultTime2Wait", rule: maximum, ours: 2, min: 0, max: 3600, set: func(p *Params, n uint32) { p.Time2Wait = n }},
	{name: "DefaultTime2Retain", rule: minimum, ours: 0, min: 0, max: 3600, set: func(p *Params, n uint32) { p.Time2Retain = n }},
	{name: "DataPDUInOrder", rule: or, ours: 1, normal: true},
	{name: "DataSequenceInOrder", rule: or, ours: 1, normal: true},
	{name: "ErrorRecoveryLevel", rule: minimum, ours: 0, min: 0, max: 2},
	{name: "TaskReporting", rule: choice, list: []string{"RFC3720"}, normal: true},
	{name: "iSCSIProtocolLevel", rule: minimum, ours: 1, min: 0, max: 31, normal: true},
	{name: "InitiatorAlias", rule: declare, max: 1<<32 - 1},
	{name: "IFMarker", rule: refuse, list: []string{"No"}},
	{name: "OFMarker", rule: refuse, list: []string{"No"}},
	{name: "IFMarkInt", rule: refuse, list: []string{"Reject"}},
	{name: "OFMarkInt", rule: refuse, list: []string{"Reject"}},
	{name: "RDMAExtensions", rule: refuse, list: []string{"No"}},
}

func find(name string) *key {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}

const (
	notUnderstood = "NotUnderstood"
	irrelevant    = "Irrelevant"
	reject        = "Reject"
)

// answer decides one offer: the result is stored in p, and the answer is given
// back, empty if the key wants none.
func (k *key) answer(p *Params, offer string, discovery bool) string {
	if discovery && k.normal {
		return irrelevant
	}
	if k.rule == refuse {
		return k.list[0]
	}
	if k.rule == declare && k.set == nil {
		return ""
	}
	result, text, ok := k.decide(offer)
	if !ok {
		return reject
	}
	if k.set != nil {
		k.set(p, result)
	}
	return text
}

func (k *key) decide(offer string) (result uint32, text string, ok bool) {
	switch k.rule {
	case and, or:
		if offer != "Yes" && offer != "No" {
			return 0, "", false
		}
		yes := offer == "Yes"
		if k.rule == and {
			yes = yes && on(k.ours)
		} else {
			yes = yes || on(k.ours)
		}
		if yes {
			return 1, "Yes", true
		}
		return 0, "No", true
	case choice:
		for _, o := range strings.Split(offer, ",") {
			if i := slices.Index(k.list, o); i >= 0 {
				return uint32(i), o, true
			}
		}
		return 0, "", false
	}
	n, ok := number(offer)
	if !ok || n < k.min || n > k.max {
		return 0, "", false
	}
	switch k.rule {
	case minimum:
		n = min(n, k.ours)
	case maximum:
		n = max(n, k.ours)
	case declare:
		return n, "", true
	}
	return n, strconv.FormatUint(uint64(n), 10), true
}

// number reads a numerical value: decimal or 0x hexadecimal (RFC 7143 6.1).
func number(s string) (uint32, bool) {
	base := 10
	if hex, found := strings.CutPrefix(s, "0x"); found {
		s, base = hex, 16
	} else if hex, found := strings.CutPrefix(s, "0X"); found {
		s, base = hex, 16
	}
	if strings.ContainsAny(s, "_+-") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 32)
	return uint32(n), err == nil
}

// Keys are the names of all keys that a login may negotiate.
func Keys() []string {
	names := slices.Clone(securityKeys)
	for _, k := range table {
		names = append(names, k.name)
	}
	return names
}
