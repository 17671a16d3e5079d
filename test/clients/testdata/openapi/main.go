// The program uses a client made of admin/openapi.json by oapi-codegen, in package api: openapi_test.go makes and
// runs it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"openapi/api"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, token string) error {
	bear := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
	client, err := api.NewClientWithResponses(url, api.WithRequestEditorFn(bear))
	if err != nil {
		return err
	}
	published, err := client.PublishWithTextBodyWithResponse(ctx, "news/go", nil, "one")
	if err != nil || published.JSON200 == nil || *published.JSON200.Receivers != 0 {
		return fmt.Errorf("publish: got %+v, %w", published, err)
	}
	lines := strings.NewReader(`{"channel":"news/go","data":"two"}` + "\n" + `{"channel":"news/go","data":5}`)
	batch, err := client.PublishBatchWithBodyWithResponse(ctx, nil, "application/x-ndjson", lines)
	if err != nil || batch.JSON400 == nil || batch.JSON400.Code != "bad_message" || *batch.JSON400.Line != 2 {
		return fmt.Errorf("a batch with a wrong line: got %+v, %w", batch, err)
	}
	ch, err := client.GetChannelWithResponse(ctx, "news/go")
	if err != nil || ch.JSON200 == nil || *ch.JSON200.Head != published.JSON200.Id {
		return fmt.Errorf("getChannel: got %+v, %w", ch, err)
	}
	address, limit := "127.0.0.1", 5
	conns, err := client.ListConnectionsWithResponse(ctx, &api.ListConnectionsParams{Address: &address, Limit: &limit})
	if err != nil || conns.JSON200 == nil || len(conns.JSON200.Connections) != 0 {
		return fmt.Errorf("listConnections: got %+v, %w", conns, err)
	}
	none, err := client.GetChannelWithResponse(ctx, "nobody")
	if err != nil || none.JSON404 == nil || none.JSON404.Code != "no_such_channel" {
		return fmt.Errorf("a channel that does not exist: got %+v, %w", none, err)
	}
	return nil
}
