package cli

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"ashlar/appliance/api"
	"ashlar/node"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func versionCommand(version string) *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the release of this program", Description: "Example:\n   ashlar version -o json",
		Flags: []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "formats", Usage: "print what a release needs to have in common with it, to be in one cluster"}},
		Action: func(c *cli.Context) error {
			document := map[string]string{"version": version, "formats": api.Formats}
			if c.Bool("formats") {
				return done(c, document, "%s", api.Formats)
			}
			return done(c, document, "ashlar %s", version)
		}}
}

func clusterCommand() *cli.Command {
	return group("cluster", "make, join and look at the cluster",
		leaf("create", "make a cluster of this node", "NAME", "ashlar cluster create prod", createCluster,
			&cli.StringFlag{Name: "segment-size", Value: defaultSegmentSize, Usage: "unit of placement, a power of two from 1M to 4G, fixed for ever"}),
		leaf("join", "make this node a member of a cluster", "ADDRESS", "ashlar cluster join 10.1.0.1 --secret-file /root/secret", joinCluster,
			&cli.BoolFlag{Name: "witness", Usage: "vote, and hold no data and serve no hosts"},
			&cli.StringFlag{Name: "secret-file", Usage: "file with the join secret, or - for stdin; else $ASHLAR_SECRET is used"}),
		leaf("status", "all of the cluster: settings, nodes, volumes, what needs attention (in short: ashlar status)", "", "ashlar cluster status -o json", clusterStatus),
		checkCommand(), releaseCommand(), resetCommand(), adoptCommand(),
		leaf("set", "change a setting: "+settingNames, "SETTING VALUE", "ashlar cluster set rebuild-after-node 10m", setCluster),
		leaf("secret", "print the secret with which nodes join", "", "ashlar cluster secret > /root/secret",
			func(c *cli.Context, n *api.Client) error {
				s, err := n.Secret(c.Context)
				if err != nil {
					return err
				}
				return done(c, s, "%s", s.Secret)
			}),
		leaf("ca", "print the certificate with which clients check the nodes' HTTPS", "", "ashlar cluster ca > ca.pem",
			func(c *cli.Context, n *api.Client) error {
				a, err := n.Authority(c.Context)
				if err != nil {
					return err
				}
				return done(c, a, "%s", strings.TrimSpace(a.Certificate))
			}))
}

const defaultSegmentSize = "1G"

func createCluster(c *cli.Context, n *api.Client) error {
	size, err := parseSize("--segment-size", c.String("segment-size"))
	if err != nil {
		return err
	}
	name := c.Args().First()
	if err := n.CreateCluster(c.Context, api.NewCluster{Name: name, SegmentSize: size}); err != nil {
		return err
	}
	s, err := n.Cluster(c.Context)
	if err != nil {
		return err
	}
	return done(c, s, "cluster %q created; other nodes join with the secret that `ashlar cluster secret` prints", name)
}

func joinCluster(c *cli.Context, n *api.Client) error {
	secret, err := readSecret(c)
	if err != nil {
		return err
	}
	address, err := peerAddress(c.Args().First())
	if err != nil {
		return err
	}
	if err := n.JoinCluster(c.Context, api.Join{Address: address, Secret: secret, Witness: c.Bool("witness")}); err != nil {
		return err
	}
	s, err := n.Status(c.Context)
	if err != nil {
		return err
	}
	if s.Witness {
		return done(c, s, "node %q is now a witness of cluster %q", s.Name, s.Cluster)
	}
	return done(c, s, "node %q is now in cluster %q", s.Name, s.Cluster)
}

// secretMax bounds what is read of a secret's file, bytes.
const secretMax = 4096

// readSecret never takes the secret from the command line, where every process sees it.
func readSecret(c *cli.Context) (string, error) {
	from := c.String("secret-file")
	var text []byte
	var err error
	switch from {
	case "":
		if text = []byte(os.Getenv("ASHLAR_SECRET")); len(text) == 0 {
			return "", misuse("a node joins with the cluster's secret: give --secret-file FILE (- for stdin) or $ASHLAR_SECRET")
		}
	case "-":
		text, err = io.ReadAll(io.LimitReader(c.App.Reader, secretMax))
	default:
		var f *os.File
		if f, err = os.Open(from); err == nil {
			defer f.Close()
			text, err = io.ReadAll(io.LimitReader(f, secretMax))
		}
	}
	return strings.TrimSpace(string(text)), err
}

// peerAddress adds the default port.
func peerAddress(text string) (string, error) {
	host, port := text, strconv.Itoa(node.DefaultPeerPort)
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, " /") {
		return "", misuse("%q is no address of a node: write IP or IP:PORT", text)
	}
	return net.JoinHostPort(host, port), nil
}

// clusterStatus is the detail behind `ashlar status`.
func clusterStatus(c *cli.Context, n *api.Client) error {
	s, err := n.Cluster(c.Context)
	if err != nil {
		return err
	}
	return show(c, s, func() {
		facts(c, table.Row{"cluster", s.Name}, table.Row{"state", mood(c, s.State)}, table.Row{"leader", dash(s.Leader)},
			table.Row{"segment size", formatSize(s.SegmentSize)}, table.Row{"identity", s.ID},
			table.Row{"rebuilds", fmt.Sprintf("%v after a disk failed, %v after a node went down", seconds(s.Settings.RebuildAfterDisk), seconds(s.Settings.RebuildAfterNode))},
			table.Row{"scrubs", fmt.Sprintf("light every %v, deep every %v", seconds(s.Settings.ScrubLight), seconds(s.Settings.ScrubDeep))},
			table.Row{"rebuild speed", fmt.Sprintf("%s/s to %s/s of each node, as far as hosts leave it", formatSize(s.Settings.RebuildFloor), formatSize(s.Settings.RebuildCeiling))}, table.Row{"rebalance", s.Settings.Rebalance})
		if s.Stale {
			fmt.Fprintln(c.App.Writer, "\nThis node hears of no leader: no majority of the voters answers it, and what it shows may be old.")
			if s.Advice != "" {
				fmt.Fprintln(c.App.Writer, "What to do: "+s.Advice+".")
			}
		}
		fmt.Fprintln(c.App.Writer)
		listNodes(c, s.Nodes)
		fmt.Fprintln(c.App.Writer)
		for _, sentence := range s.Attention {
			fmt.Fprintln(c.App.Writer, sentence)
		}
		if all, err := n.Addresses(c.Context); err == nil {
			tellDiscovery(c, all)
		}
		tellEmptying(c, s.Emptying)
		tellShared(c, s.Volumes)
		listVolumes(c, s.Volumes)
	})
}
