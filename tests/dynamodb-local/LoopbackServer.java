import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/**
 * DynamoDB Local, in memory, on a free port of 127.0.0.1. Writes the port to the file named by its one argument, and
 * ends when its standard input does: so it never outlives the script that started it, however that one ends.
 *
 * <p>Why not DynamoDB Local's own main class: that one listens on every interface, has no option against it, and loads
 * a telemetry client even where telemetry is switched off. The request handler inside is the same.
 */
public final class LoopbackServer {
    private LoopbackServer() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 1) {
            throw new IllegalArgumentException("expected one argument: the file that the port is written to");
        }
        endWithStandardInput();

        int authorityLevel = 0; // what DynamoDB Local's own main class passes
        boolean inMemory = true;
        String databasePath = null;
        boolean sharedBetweenCredentials = false;
        boolean delayTransientStatuses = false;
        var requests = new LocalDynamoDBRequestHandler(
                authorityLevel, inMemory, databasePath, sharedBetweenCredentials, delayTransientStatuses);

        var server = new Server();
        var connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(0);
        server.addConnector(connector);
        String crossOriginAllowList = null;
        server.setHandler(new LocalDynamoDBServerHandler(requests, crossOriginAllowList));
        server.start();

        // Renamed into place, so that the script never reads half of it.
        var partial = Path.of(arguments[0] + ".partial");
        Files.writeString(partial, connector.getLocalPort() + "\n");
        Files.move(partial, Path.of(arguments[0]), StandardCopyOption.ATOMIC_MOVE);
        server.join();
    }

    private static void endWithStandardInput() {
        var watcher = new Thread(() -> {
            try {
                while (System.in.read() != -1) {
                    // Nothing is ever sent: only the end matters.
                }
            } catch (IOException closed) {
                // The same as the end.
            }
            Runtime.getRuntime().halt(0);
        });
        watcher.setDaemon(true);
        watcher.start();
    }
}
