package main

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or a folder. What it does not override goes straight to the folder.
type node struct {
	*fs.LoopbackNode
	disk *disk
}

// WrapChild makes nodes of what the loopback finds.
func (n *node) WrapChild(_ context.Context, found fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{found.(*fs.LoopbackNode), n.disk}
}

func (n *node) path() string {
	return filepath.Join(n.disk.folder, n.Path(n.RootData.RootNode.EmbeddedInode()))
}

func (n *node) child(name string) string { return filepath.Join(n.path(), name) }

// Flags that the file behind an open one goes without: what is safe is ours to say.
const ours = syscall.O_APPEND | syscall.O_DIRECT | syscall.O_DSYNC | syscall.O_SYNC | syscall.O_TRUNC | fuse.FMODE_EXEC

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	fd, err := syscall.Open(n.path(), int(flags)&^(ours|syscall.O_ACCMODE)|readable(flags), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := n.disk.truncate(fd, 0); err != nil {
			syscall.Close(fd)
			return nil, 0, fs.ToErrno(err)
		}
	}
	return &file{n.disk, n.path(), fd, flags&syscall.O_DSYNC != 0}, 0, 0
}

// readable is an access mode that allows reading what a write undoes.
func readable(flags uint32) int {
	if flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		return syscall.O_RDONLY
	}
	return syscall.O_RDWR
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (i *fs.Inode, f fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	p, fd := n.child(name), -1
	err := n.disk.create(p, func() (err error) {
		fd, err = syscall.Open(p, int(flags)&^(ours|syscall.O_ACCMODE)|syscall.O_CREAT|syscall.O_EXCL|syscall.O_RDWR, mode)
		return err
	})
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	i, errno = n.LoopbackNode.Lookup(ctx, name, out)
	return i, &file{n.disk, p, fd, flags&syscall.O_DSYNC != 0}, 0, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (i *fs.Inode, errno syscall.Errno) {
	err := n.disk.create(n.child(name), func() error {
		if i, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out); errno != 0 {
			return errno
		}
		return nil
	})
	return i, fs.ToErrno(err)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return fs.ToErrno(n.disk.remove(n.child(name)))
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return fs.ToErrno(n.disk.remove(n.child(name)))
}

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.ENOTSUP
	}
	return fs.ToErrno(n.disk.rename(n.child(name), parent.(*node).child(newName)))
}

// Link and Symlink would need to be undone, too.
func (n *node) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOTSUP
}

func (n *node) Symlink(context.Context, string, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOTSUP
}

func (n *node) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		fd, err := syscall.Open(n.path(), syscall.O_RDWR, 0)
		if err != nil {
			return fs.ToErrno(err)
		}
		defer syscall.Close(fd)
		if err := n.disk.truncate(fd, int64(size)); err != nil {
			return fs.ToErrno(err)
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	stream, errno := fs.NewLoopbackDirStream(n.path())
	return &folder{stream, n}, 0, errno
}

// folder is an open folder.
type folder struct {
	stream fs.DirStream
	node   *node
}

func (f *folder) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !f.stream.HasNext() {
		return nil, 0
	}
	entry, errno := f.stream.Next()
	return &entry, errno
}

func (f *folder) Releasedir(context.Context, uint32) { f.stream.Close() }

func (f *folder) Fsyncdir(context.Context, uint32) syscall.Errno {
	f.node.disk.syncNames(f.node.path())
	return 0
}

// file is an open file.
type file struct {
	disk   *disk
	path   string // when it was opened
	fd     int
	synced bool // each write is
}

func (f *file) Read(_ context.Context, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := syscall.Pread(f.fd, p, off)
	return fuse.ReadResultData(p[:max(n, 0)]), fs.ToErrno(err)
}

func (f *file) Write(_ context.Context, p []byte, off int64) (uint32, syscall.Errno) {
	if err := f.disk.troubles.suffer(f.path); err != nil {
		return 0, fs.ToErrno(err)
	}
	n, err := f.disk.write(f.fd, p, off, f.synced)
	return uint32(n), fs.ToErrno(err)
}

// Fsync of a file of which each write is synced comes from the kernel, after each
// write. It says nothing of what others wrote.
func (f *file) Fsync(context.Context, uint32) syscall.Errno {
	if f.synced {
		return 0
	}
	if err := f.disk.troubles.suffer(f.path); err != nil {
		return fs.ToErrno(err)
	}
	return fs.ToErrno(f.disk.sync(f.fd))
}

func (f *file) Flush(context.Context) syscall.Errno { return 0 }

func (f *file) Release(context.Context) syscall.Errno { return fs.ToErrno(syscall.Close(f.fd)) }

func (f *file) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	var st syscall.Stat_t
	err := syscall.Fstat(f.fd, &st)
	out.FromStat(&st)
	return fs.ToErrno(err)
}

func (f *file) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	n, err := syscall.Seek(f.fd, int64(off), int(whence))
	return uint64(n), fs.ToErrno(err)
}

// Allocate only makes a file longer: no more is promised by what is not synced.
func (f *file) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(f.fd, &st); err != nil {
		return fs.ToErrno(err)
	}
	if mode != 0 {
		return syscall.ENOTSUP
	}
	if end := int64(off + size); end > st.Size {
		return fs.ToErrno(f.disk.truncate(f.fd, end))
	}
	return 0
}
