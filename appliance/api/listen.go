package api

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// connectionsMax bounds what strangers can take of a node's descriptors and memory: they are for hosts.
const connectionsMax = 256

// Listen takes an address for the API over the network.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &bounded{l, make(chan struct{}, connectionsMax)}, nil
}

// ServeNetwork serves it until the server is closed.
func ServeNetwork(l net.Listener, config *tls.Config, h http.Handler) *http.Server {
	s := &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0)} // strangers' handshakes are not worth a line each
	go s.ServeTLS(l, "", "")
	return s
}

// bounded accepts no more connections than there are places.
type bounded struct {
	net.Listener
	places chan struct{}
}

func (l *bounded) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
