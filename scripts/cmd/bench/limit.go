package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// The limit of the wire: a responder and a client that do nothing but exchange
// requests and answers of the same sizes, as many under way. Both are in Go, so
// that what is compared is the work of the protocol.

const (
	responderWord = "respond"
	headerBytes   = 48 // of a basic header segment (RFC 7143 11.2)
)

// respond serves exchanges until it is killed. A request's header says how much
// data comes with it, and how much goes back.
func respond(address string) int {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		go exchange(c)
	}
}

func exchange(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReaderSize(c, 1<<18), bufio.NewWriterSize(c, 1<<18)
	var header [headerBytes]byte
	buffer := make([]byte, 1<<20)
	for {
		// What was answered goes out together, once nothing more is there to answer.
		if in.Buffered() < headerBytes && out.Flush() != nil {
			return
		}
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return
		}
		comes, goes := binary.BigEndian.Uint32(header[0:]), binary.BigEndian.Uint32(header[4:])
		if _, err := io.ReadFull(in, buffer[:comes]); err != nil {
			return
		}
		if _, err := out.Write(header[:]); err != nil {
			return
		}
		if _, err := out.Write(buffer[:goes]); err != nil {
			return
		}
	}
}

// rawLimit exchanges what the work would.
func (b *bench) rawLimit(w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		return b.echoServer.observed(func() (sample, error) {
			begin := time.Now()
			return inSessions(w, begin, func(int) ([]int64, error) { return b.exchangeFor(w, begin.Add(length)) })
		})
	}
}

func (b *bench) exchangeFor(w work, end time.Time) (latency []int64, err error) {
	c, err := net.Dial("tcp", b.echo)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in, out := bufio.NewReaderSize(c, 1<<18), bufio.NewWriterSize(c, 1<<18)
	var header [headerBytes]byte
	data := make([]byte, w.bytes)
	comes, goes := 0, w.bytes
	if w.write {
		comes, goes = goes, comes
	}
	binary.BigEndian.PutUint32(header[0:], uint32(comes))
	binary.BigEndian.PutUint32(header[4:], uint32(goes))
	begun := make(chan time.Time, w.depth)
	send := func() error {
		begun <- time.Now()
		if _, err := out.Write(header[:]); err != nil {
			return err
		}
		_, err := out.Write(data[:comes])
		return err
	}
	for range w.depth {
		if err := send(); err != nil {
			return nil, err
		}
	}
	var answer [headerBytes]byte
	for left := w.depth; left > 0; {
		if in.Buffered() < headerBytes+goes {
			if err := out.Flush(); err != nil {
				return nil, err
			}
		}
		if _, err := io.ReadFull(in, answer[:]); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(in, data[:goes]); err != nil {
			return nil, err
		}
		now := time.Now()
		latency = append(latency, int64(now.Sub(<-begun)))
		if !now.Before(end) {
			left--
		} else if err := send(); err != nil {
			return nil, err
		}
	}
	return latency, nil
}

func (b *bench) startLimit() error {
	if b.echo != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pid, out, err := b.start(self, responderWord, "127.0.0.1:0")
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	b.echo, b.echoServer = strings.TrimSpace(line), &server{pids: []int{pid}}
	return err
}
