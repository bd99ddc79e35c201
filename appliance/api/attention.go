package api

import (
	"fmt"

	"ashlar/node/cluster"
)

// attention says in sentences what somebody has to look at.
func attention(disks []Disk, s *cluster.State) []string {
	out := []string{}
	for _, d := range disks {
		at := fmt.Sprintf("Disk %s of node %s", d.Path, d.Node)
		forget := fmt.Sprintf("; `ashlar disk remove %s:%s` forgets it.", d.Node, d.Path)
		switch d.State {
		case "failed":
			out = append(out, at+" failed a write and is not used any more"+forget)
		case "ejected":
			out = append(out, fmt.Sprintf("%s lost %d blocks, %d of them within a day, and is not used any more%s", at, d.BadEver, cluster.BadMost, forget))
		case "outdated":
			out = append(out, fmt.Sprintf("%s is an old copy of the disk that was there, so it is not used; `ashlar disk remove %s:%s` forgets it, then `ashlar disk add %s --force` on that node takes it as an empty one.", at, d.Node, d.Path, d.Path))
		case "worn":
			out = append(out, fmt.Sprintf("%s lost %d blocks within a day; it leaves the pool once every volume can do without it.", at, cluster.BadMost))
		case "missing":
			out = append(out, at+" cannot be opened; the node's log says why.")
		}
	}
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		if v.Scrubs == nil {
			continue
		}
		for _, r := range []cluster.Round{v.Scrubs.Deep, v.Scrubs.Light} {
			if n := r.Last.Differing - min(r.Last.Mended, r.Last.Differing); n > 0 {
				out = append(out, fmt.Sprintf("Volume %s: copies of %d blocks differed when they were last compared, and it is not known which is right; `ashlar volume verify %s` looks again.", v.Name, n, v.Name))
				break
			}
		}
	}
	return out
}
