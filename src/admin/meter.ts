import type { IncomingMessage, ServerResponse } from 'node:http';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';

/** The meter of the process, and the handler that prints it in Prometheus' text format. */
export interface Scrape {
  readonly meter: ReturnType<MeterProvider['getMeter']>;
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  close(): Promise<void>;
}

export function openScrape(): Scrape {
  // The exporter would open a port of its own on all addresses; ours is the admin server's.
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    withoutScopeInfo: true,
    withoutTargetInfo: true,
    appendTimestamp: false,
  });
  const provider = new MeterProvider({ readers: [exporter] });
  return {
    meter: provider.getMeter('lockstep'),
    handle: (request, response) => exporter.getMetricsRequestHandler(request, response),
    close: () => provider.shutdown(),
  };
}
