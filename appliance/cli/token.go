package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"ashlar/appliance/api"
	"ashlar/appliance/audit"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func tokenCommand() *cli.Command {
	return group("token", "who may give orders over the network",
		leaf("create", "make a token, and print its secret this once", "NAME", "ashlar token create ci --role operator --expires 720h > token", createToken,
			&cli.StringFlag{Name: "role", Usage: "viewer, operator, admin or tenant (docs/security.md); needed"},
			&cli.StringFlag{Name: "tenant", Usage: "whose volumes and hosts alone it is for, with --role tenant"},
			&cli.DurationFlag{Name: "expires", Usage: "after how long, such as 720h (default: never)"},
			&cli.StringFlag{Name: "secret-file", Usage: "file to make, which only its owner may read, instead of printing the secret"}),
		leaf("list", "all tokens, without their secrets", "", "ashlar token list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Tokens(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "no tokens; ashlar token create makes one", table.Row{"name", "role", "tenant", "created", "expires"}, func(t api.Token) table.Row {
				expires := "never"
				if t.Expires != nil {
					expires = t.Expires.Format(time.RFC3339)
				}
				return table.Row{t.Name, t.Role, dash(t.Tenant), t.Created.Format(time.RFC3339), expires}
			})
		}),
		leaf("delete", "let a token in no more", "NAME", "ashlar token delete ci", func(c *cli.Context, n *api.Client) error {
			if err := n.DeleteToken(c.Context, c.Args().First()); err != nil {
				return err
			}
			return done(c, struct{}{}, "token %q lets nobody in any more", c.Args().First())
		}))
}

func createToken(c *cli.Context, n *api.Client) (err error) {
	in := api.NewToken{Name: c.Args().First(), Role: c.String("role"), Tenant: c.String("tenant")}
	expires := c.Duration("expires")
	switch {
	case in.Role == "":
		return misuse("token create: give --role viewer, operator, admin or tenant")
	case c.IsSet("expires") && expires < time.Second:
		return misuse("--expires: %v is no time from which to have anything", expires)
	}
	in.Seconds = uint64(expires / time.Second)
	path := c.String("secret-file")
	if path == "" {
		made, err := n.CreateToken(c.Context, in)
		if err != nil {
			return err
		}
		return done(c, made, "%s", made.Secret)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	made, err := n.CreateToken(c.Context, in)
	if err == nil {
		_, err = fmt.Fprintln(f, made.Secret)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return err
	}
	return done(c, made.Token, "the secret of token %q is in %s", made.Name, path)
}

func tenantCommand() *cli.Command {
	quotas := func() []cli.Flag {
		return []cli.Flag{
			&cli.StringFlag{Name: "quota", Usage: "bytes that its volumes may have together, as hosts see their sizes, such as 10T; 0: any"},
			&cli.IntFlag{Name: "volumes", Usage: "how many volumes it may have; 0: any"},
		}
	}
	return group("tenant", "who owns volumes and hosts, and sees no others",
		leaf("create", "make a tenant", "NAME", "ashlar tenant create acme --quota 10T --volumes 20", func(c *cli.Context, n *api.Client) error {
			in, err := quotasOf(c)
			if err != nil {
				return err
			}
			t := api.Tenant{Name: c.Args().First()}
			if in.Quota != nil {
				t.Quota = *in.Quota
			}
			if in.Volumes != nil {
				t.Volumes = *in.Volumes
			}
			if err := n.CreateTenant(c.Context, t); err != nil {
				return err
			}
			return done(c, t, "tenant %q created; `ashlar token create NAME --role tenant --tenant %s` lets somebody act for it", t.Name, t.Name)
		}, quotas()...),
		leaf("set", "change what a tenant may have; what it has stays", "NAME", "ashlar tenant set acme --quota 20T", func(c *cli.Context, n *api.Client) error {
			in, err := quotasOf(c)
			if err != nil {
				return err
			}
			if in.Quota == nil && in.Volumes == nil {
				return misuse("tenant set: give --quota or --volumes")
			}
			if err := n.SetTenant(c.Context, c.Args().First(), in); err != nil {
				return err
			}
			return done(c, in, "tenant %q may have what it is given now", c.Args().First())
		}, quotas()...),
		leaf("list", "all tenants, and what they have", "", "ashlar tenant list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Tenants(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "no tenants; ashlar tenant create makes one", table.Row{"name", "bytes", "of", "volumes", "of"}, func(t api.Tenant) table.Row {
				return table.Row{t.Name, formatSize(t.HasBytes), limit(t.Quota > 0, formatSize(t.Quota)), t.HasVolumes, limit(t.Volumes > 0, fmt.Sprint(t.Volumes))}
			})
		}),
		leaf("delete", "forget a tenant that owns nothing", "NAME", "ashlar tenant delete acme", func(c *cli.Context, n *api.Client) error {
			if err := n.DeleteTenant(c.Context, c.Args().First()); err != nil {
				return err
			}
			return done(c, struct{}{}, "tenant %q is gone", c.Args().First())
		}))
}

func ownerFlag() cli.Flag {
	return &cli.StringFlag{Name: "tenant", Usage: "whose it is to be (ashlar tenant list)"}
}

func limit(is bool, text string) string {
	if is {
		return text
	}
	return "any"
}

func quotasOf(c *cli.Context) (in api.Quotas, err error) {
	if c.IsSet("quota") {
		size := uint64(0)
		if text := c.String("quota"); text != "0" {
			if size, err = parseSize("--quota", text); err != nil {
				return in, err
			}
		}
		in.Quota = &size
	}
	if c.IsSet("volumes") {
		n := c.Int("volumes")
		in.Volumes = &n
	}
	return in, nil
}

func auditCommand() *cli.Command {
	return leaf("audit", "who ordered what through this node, and what came of it", "", "ashlar audit --since 24h -o json", func(c *cli.Context, n *api.Client) error {
		since, err := sinceOf(c.String("since"), time.Now())
		if err != nil {
			return err
		}
		all, err := n.Audit(c.Context, since)
		if err != nil {
			return err
		}
		return list(c, all, "no orders", table.Row{"time", "who", "role", "from", "operation", "object", "outcome", "request"}, func(e audit.Entry) table.Row {
			from := e.From
			if from == "" {
				from = "socket"
			}
			return table.Row{e.Time.Format(time.RFC3339), dash(e.Who), e.Role, from, e.Operation, dash(e.Object), e.Outcome, e.Request}
		})
	}, &cli.StringFlag{Name: "since", Usage: "a time (2026-11-27T07:00:00Z), or how long ago (24h); default: all that is kept"})
}

func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, misuse("--since: %q is neither a time such as 2026-11-27T07:00:00Z nor one such as 24h", text)
	}
	return t, nil
}
