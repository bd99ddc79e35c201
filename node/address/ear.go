package address

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ashlar/node/address/frame"
)

// frameMax is longer than any frame that says who has an address.
const frameMax = 2048

// ear hears what the neighbours on a link say of one address, and speaks of it.
// The kernel passes it nothing else, so it costs the data path nothing but the
// filter.
type ear struct {
	socket *os.File
	group  int // a socket that is in the address's solicited-node group, or -1
}

// listen opens the ear; hear is called for each message, on a goroutine that
// ends when the ear is closed.
func listen(l link, address netip.Addr, hear func(frame.Message)) (*ear, error) {
	// Protocol 0 receives nothing yet: the filter comes first.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, explain("packet socket", err)
	}
	e := &ear{socket: os.NewFile(uintptr(fd), "packet"), group: -1}
	ethernetType := uint16(unix.ETH_P_ARP)
	if address.Is6() {
		ethernetType = unix.ETH_P_IPV6
		e.group, err = joinGroup(l, frame.SolicitedNode(address))
	}
	if err = errors.Join(err, attach(fd, filter(address)),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ethernetType<<8 | ethernetType>>8, Ifindex: l.index})); err != nil {
		e.close()
		return nil, explain("hear "+l.name, err)
	}
	go e.run(address, hear)
	return e, nil
}

func (e *ear) run(address netip.Addr, hear func(frame.Message)) {
	b := make([]byte, frameMax)
	for {
		n, err := e.socket.Read(b)
		if errors.Is(err, unix.ENETDOWN) { // said once each time that the link goes down
			continue
		}
		if err != nil {
			return
		}
		if m, ok := frame.Parse(b[:n]); ok && m.Address == address {
			hear(m)
		}
	}
}

func (e *ear) say(frames ...[]byte) error {
	for _, f := range frames {
		if _, err := e.socket.Write(f); err != nil {
			return explain("send", err)
		}
	}
	return nil
}

func (e *ear) close() {
	e.socket.Close()
	if e.group >= 0 {
		unix.Close(e.group)
	}
}

// joinGroup makes the interface, and switches that snoop, pass on what is asked
// about an address before it is ours.
func joinGroup(l link, group netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	member := &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(l.index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, member); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// filter passes ARP packets from or about an IPv4 address, and solicitations and
// advertisements of an IPv6 address. Offsets are from the start of the frame.
func filter(address netip.Addr) []bpf.Instruction {
	accept, refuse := bpf.RetConstant{Val: frameMax}, bpf.RetConstant{Val: 0}
	if address.Is4() {
		value := word(address.AsSlice())
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: 14 + 14, Size: 4}, // sender protocol address
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 2},
			bpf.LoadAbsolute{Off: 14 + 24, Size: 4}, // target protocol address
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: 1},
			accept,
			refuse,
		}
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 14 + 6, Size: 1}, // next header
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 1},
		refuse,
		bpf.LoadAbsolute{Off: 14 + 40, Size: 1}, // type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 135, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 136, SkipTrue: 1},
		refuse,
	}
	for i := uint32(0); i < 16; i += 4 {
		program = append(program,
			bpf.LoadAbsolute{Off: 14 + 40 + 8 + i, Size: 4}, // target address
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(address.AsSlice()[i:]), SkipTrue: 1},
			refuse)
	}
	return append(program, accept)
}

func word(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func attach(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}
