package wire

import "bytes"

// sample is a message with every field set to something of its own, so that two
// fields of the same size that change places change the golden bytes.
type sample struct {
	name string
	m    Message
}

func block(fill byte) []byte {
	return bytes.Repeat([]byte{fill, fill + 1, fill + 2, fill + 3}, BlockSize/4)
}

func samples() []sample {
	nexus := Nexus{Host: "iqn.1993-08.org.debian:01:abc", Port: 0x0201, Generation: 0x1122334455667788}
	changes := []Change{
		{Block: 7, Version: Version{3, 9}, CRC: 0xCAFEF00D},
		{Block: 8, Version: Version{4, 1}, Zero: true},
	}
	command := Command{Portal{0x0102, 0x1112131415161718}, 0x2122232425262728}
	claim := Claim{Command: command, Key: Key{1, 2, 3, 15: 16}, Orphaned: true, Changed: true, Offset: 0x3132333435363738, Length: 512, Segment: 3, Block: 0x41424344,
		Versions: []Version{{5, 6}, {7, 8}}}
	return []sample{
		{"prepare", &Prepare{Req: 1, Volume: 2, Epoch: 3, Segments: []Segment{4, 0x05060708}, Gens: []uint64{9, 10}}},
		{"prepare-nothing", &Prepare{Req: 1, Volume: 2, Epoch: 3}},
		{"prepared", &Prepared{Req: 1, Epoch: 3, Segments: []Tail{
			{Segment: 4, Commit: Version{2, 77}, Changes: changes},
			{Segment: 5, Status: Missing},
		}}},
		{"prepared-claims", &Prepared{Req: 1, Epoch: 3, Segments: []Tail{{Segment: 4, Commit: Version{2, 77}}}, Claims: []Claim{claim}, Forgot: 9}},
		{"prepared-stale", &Prepared{Req: 1, Status: Stale, Epoch: 9}},
		{"write", &Write{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Seq: 5, Commit: Version{4, 2}, Block: 6, Count: 1,
			CRC: []uint32{BlockCRC(2, 3, 6, block(0xA0))}, Data: block(0xA0)}},
		{"write-zeros", &Write{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Seq: 5, Block: 6, Count: 262144}},
		{"write-copy", &Write{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Seq: 5, Block: 6, Count: 2,
			Versions: []Version{{1, 2}, {3, 4}}}},
		{"write-claims", &Write{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Seq: 5, Block: 6, Count: 1,
			Claims: []Claim{claim}, CRC: []uint32{BlockCRC(2, 3, 6, block(0xA0))}, Data: block(0xA0)}},
		{"write-cached", &Write{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Seq: 5, Block: 6, Count: 1, Cache: true}},
		{"ack-held", &Ack{Req: 1, Status: Held}},
		{"ack", &Ack{Req: 0x0102030405060708}},
		{"ack-no-space", &Ack{Req: 1, Status: NoSpace, Low: true}},
		{"read", &Read{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Block: 5, Count: 6}},
		{"blocks", &Blocks{Req: 1, Status: Corrupt, Versions: []Version{{1, 2}}, CRC: []uint32{0x11223344}, Bad: []uint32{9}, Data: block(0xB0)}},
		{"commit", &Commit{Volume: 1, Epoch: 2, Segments: []CommitPoint{{3, Version{4, 5}}, {6, Version{7, 8}}}}},
		{"changes", &Changes{Req: 1, Volume: 2, Segment: 3, Epoch: 4, After: Version{5, 6}, From: 7, Gen: 8}},
		{"changes-own", &Changes{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Own: true}},
		{"page", &Page{Req: 1, Commit: Version{2, 3}, Changes: changes, Next: 9}},
		{"reserve", &Reserve{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Block: 5, Count: 6}},
		{"extents", &Extents{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Block: 5, Count: 6}},
		{"runs", &Runs{Req: 1, Status: Lapsed, Runs: []uint32{0, 12, 34}}},
		{"submit", &Submit{Req: 1, Volume: 2, Command: command, First: 2, Op: OpWrite, Nexus: nexus, Stamp: Stamp{Epoch: 3, Token: 4_000_000_000}, Wait: 2_500_000_000,
			Offset: 4096, Length: 512, Data: bytes.Repeat([]byte{0xC5}, 512)}},
		{"submit-read", &Submit{Req: 1, Volume: 2, Op: OpRead, Nexus: Nexus{Port: 1}, Offset: 512, Length: 1024}},
		{"submit-cached", &Submit{Req: 1, Volume: 2, Op: OpWrite, Nexus: nexus, Offset: 4096, Length: 4, Data: []byte("data"), Cached: true, FUA: true,
			Losses: 0x5152535455565758}},
		{"submit-reserve", &Submit{Req: 1, Volume: 2, Op: OpReserve, Nexus: nexus, Data: []byte("request")}},
		{"done-cache-lost", &Done{Req: 1, Status: CacheLost}},
		{"done-conflict", &Done{Req: 1, Status: Conflict}},
		{"done", &Done{Req: 1, Data: []byte("data")}},
		{"done-miscompare", &Done{Req: 1, Status: Miscompare, Offset: 515}},
		{"done-extents", &Done{Req: 1, Offset: 4096, Runs: []uint32{1, 2, 3}}},
		{"fence", &Fence{Req: 1, Volume: 2, Portal: command.Portal, Scope: FenceHost, Nexus: nexus}},
		{"fenced", &Fenced{Req: 1, Status: NotHead}},
		{"tell", &Tell{Req: 1, Volume: 2, Data: []byte("reservations")}},
		{"retire", &Retire{Req: 1, Volume: 2, Epoch: 3}},
		{"told", &Told{Req: 0x0102030405060708}},
		{"settle", &Settle{Volume: 2, Portal: command.Portal, Settled: []uint64{3, 4}, Orphaned: []uint64{5}}},
		{"claims", &Claims{Volume: 2, Epoch: 3, Keep: []Claim{claim}, Settled: []Command{command}, Orphaned: []Command{{Portal{9, 10}, 11}}}},
		{"clear-tasks", &Clear{Req: 1, Volume: 2, Scope: FenceTasks}},
		{"clear-nexuses", &Clear{Req: 1, Volume: 2, Scope: FenceNexus, Nexuses: []Nexus{nexus, {Host: "other", Port: 2}}}},
		{"cleared", &Cleared{Req: 1, Volume: 2, Portal: command.Portal, Clear: 3}},
		{"check", &Check{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Block: 5, Count: 6}},
		{"check-data", &Check{Req: 1, Volume: 2, Segment: 3, Epoch: 4, Block: 5, Count: 6, Data: true}},
		{"checked", &Checked{Req: 1, Changes: changes, Bad: []uint32{8, 0x01020304}}},
		{"checked-lapsed", &Checked{Req: 1, Status: Lapsed}},
		{"token", &Token{Incarnation: 3, Token: 123456789012345}},
	}
}
