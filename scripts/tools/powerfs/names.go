package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
)

// change is a change of a folder that is lost unless the folder is synced.
type change struct {
	folder string // that it is safe with
	kind   kind
	path   string // the name that came or went
	from   string // of a rename
	grave  string // where the attic has what was at path, "" if nothing was
}

type kind int

const (
	came kind = iota
	went
	renamed
)

// undo gives the folders their names back.
func (c change) undo() (err error) {
	switch c.kind {
	case came:
		return os.RemoveAll(c.path)
	case renamed:
		err = os.Rename(c.path, c.from)
	}
	if c.grave != "" {
		err = errors.Join(err, os.Rename(c.grave, c.path))
	}
	return err
}

// note adds a change.
func (d *disk) note(c change) {
	c.folder = c.path[:strings.LastIndexByte(c.path, '/')]
	d.names = append(d.names, c)
}

// create makes a name by do.
func (d *disk) create(path string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := do()
	if err == nil {
		d.note(change{kind: came, path: path})
	}
	return err
}

// remove takes a file or an empty folder away.
func (d *disk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return syscall.ENOTEMPTY
	}
	grave := d.grave()
	err := os.Rename(path, grave)
	if err == nil {
		d.note(change{kind: went, path: path, grave: grave})
	}
	return err
}

// rename moves a name, over what has the new one.
func (d *disk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := change{kind: renamed, path: to, from: from}
	if info, err := os.Lstat(to); err == nil {
		if info.IsDir() {
			return syscall.ENOTSUP
		}
		c.grave = d.grave()
		if err := os.Link(to, c.grave); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	// What was changed below a folder is safe with it under its new name.
	for i := range d.names {
		moved(&d.names[i].folder, from, to)
	}
	d.note(c)
	return nil
}

// syncNames makes the changes of a folder safe. A rename that cannot be undone
// any more is under its new name for the older changes, too.
func (d *disk) syncNames(folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lying {
		return
	}
	for i := len(d.names) - 1; i >= 0; i-- {
		c := d.names[i]
		if c.folder != folder {
			continue
		}
		for k := range d.names[:i] {
			if c.kind == renamed {
				moved(&d.names[k].path, c.from, c.path)
				moved(&d.names[k].from, c.from, c.path)
			}
		}
		d.names = slices.Delete(d.names, i, i+1)
	}
}

// moved gives a path below (or at) a renamed one its new name.
func moved(path *string, from, to string) {
	if rest, ok := strings.CutPrefix(*path, from); ok && (rest == "" || rest[0] == '/') {
		*path = to + rest
	}
}
