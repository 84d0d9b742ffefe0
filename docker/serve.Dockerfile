# `module-cache serve` for the folder that is mounted at /sources, from the package as npm would get it.
FROM node:22 AS package
WORKDIR /package
COPY . .
RUN npm install --no-save --ignore-scripts && npm pack --pack-destination /tmp

FROM node:22-slim
WORKDIR /app
COPY --from=package /tmp/pg-module-cache-*.tgz /tmp/
RUN npm install /tmp/pg-module-cache-*.tgz @babel/core @babel/preset-typescript
USER node
EXPOSE 3000
ENTRYPOINT ["node_modules/.bin/module-cache"]
CMD ["serve", "/sources", "--host", "0.0.0.0"]
