// Powerfs is a file system that loses what a power cut may lose. It passes
// everything through to a folder, and remembers what that folder would hold had
// only synced writes reached the disk: those of files opened with O_DSYNC or
// O_SYNC, and those that fsync or fdatasync was called for. A name is safe once
// its folder was synced.
//
// Orders come on standard input, one a line, each answered by a line:
//
//	cut        undo everything that was not synced, and forget all caches
//	cut SEED   undo half of the blocks that were not synced, as the seed falls
//	lie        from now on nothing that is synced is safe
//	slow MS END   each write and sync of a file whose path ends so takes MS ms longer
//	hang END      they do not end
//	fail END      they fail (EIO)
//	full END      they find no room (ENOSPC)
//	well END      they do as they should again, also those that hang
//
// It ends with its standard input. It needs the right to mount.
package main

import (
	"bufio"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("powerfs MOUNTPOINT FOLDER ATTIC (an empty folder beside FOLDER)")
	}
	m := &machine{mountpoint: os.Args[1], folder: os.Args[2], disk: newDisk(os.Args[2], os.Args[3])}
	if err := m.mount(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("mounted")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		said, err := m.order(strings.Fields(lines.Text()))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(said)
	}
	if err := m.unmount(); err != nil {
		log.Fatal(err)
	}
}

// machine is what loses its power.
type machine struct {
	mountpoint, folder string
	disk               *disk
	server             *fuse.Server
}

func (m *machine) mount() error {
	root := &fs.LoopbackRoot{Path: m.folder}
	top := &node{&fs.LoopbackNode{RootData: root}, m.disk}
	root.RootNode = top
	server, err := fs.Mount(m.mountpoint, top, &fs.Options{MountOptions: fuse.MountOptions{
		Name: "powerfs", DirectMountStrict: true, MaxWrite: 1 << 20, DisableXAttrs: true,
	}})
	m.server = server
	return err
}

func (m *machine) unmount() error {
	if err := syscall.Unmount(m.mountpoint, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", m.mountpoint, err)
	}
	m.server.Wait()
	return nil
}

func (m *machine) order(words []string) (string, error) {
	switch {
	case len(words) == 1 && words[0] == "lie":
		m.disk.lie()
		return "lying", nil
	case len(words) == 1 && words[0] == "cut":
		return m.cut(func() bool { return false })
	case len(words) == 2 && words[0] == "cut":
		seed, err := strconv.ParseUint(words[1], 10, 64)
		random := rand.New(rand.NewPCG(seed, 0))
		if err != nil {
			return "", err
		}
		return m.cut(func() bool { return random.IntN(2) == 0 })
	}
	if len(words) < 2 {
		return "", fmt.Errorf("what is %q?", words)
	}
	return m.disk.troubles.order(words)
}

// cut takes the file system away from everybody first, so that nothing of it
// stays in the kernel's caches.
func (m *machine) cut(survives func() bool) (string, error) {
	if err := m.unmount(); err != nil {
		return "", err
	}
	blocks, names, err := m.disk.undo(survives)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("cut %d %d", blocks, names), m.mount()
}
