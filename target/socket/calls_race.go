//go:build race

package socket

import "syscall"

// These calls tell the race detector what they read and write, and that what was done before a write was
// done before it is read.

func read(fd uintptr, p []byte) (int, error) {
	n, err := syscall.Read(int(fd), p)
	return max(n, 0), err
}

func (w *writer) writev(fd uintptr, buffers [][]byte) (sent int, err error) {
	for _, b := range buffers {
		n, err := syscall.Write(int(fd), b)
		sent += max(n, 0)
		if err != nil && sent == 0 {
			return 0, err
		}
		if n < len(b) {
			break
		}
	}
	return sent, nil
}
