package node

import (
	"errors"
	"net"
	"syscall"

	"ashlar/node/cluster"
)

// portsAreFree finds out whether this node could listen where it was told to.
func (c Config) portsAreFree() error {
	for _, address := range append([]string{c.Peer(), c.gossip()}, c.hostTexts()...) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return listenProblem(address, err)
		}
		l.Close()
	}
	u, err := net.ListenPacket("udp", c.gossip())
	if err != nil {
		return listenProblem(c.gossip(), err)
	}
	return u.Close()
}

// listen takes addresses, ip:port: with an error those before the one that it
// cannot have.
func listen(addresses []string) (all []net.Listener, err error) {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return all, listenProblem(address, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func listenProblem(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return problem(InUse, "another process listens at %s", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return problem(cluster.Invalid, "%s is no address of this machine", address)
	case errors.Is(err, syscall.EACCES):
		return problem(cluster.Refused, "not allowed to listen at %s", address)
	}
	return err
}
