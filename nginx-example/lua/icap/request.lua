--- The client's request as nginx has it: its head to encapsulate or to send on, its body, and what the ICAP server
-- is told of its sender. Built from nginx's fields, as the raw head exists for HTTP/1 alone.

local body = require "icap.body"
local heads = require "icap.heads"

local _M = {}

--- The fields that belong to the message, in a steady order; Host first, as HTTP/2 has it elsewhere.
function _M.fields()
    local fields = {}
    for name, values in pairs(ngx.req.get_headers(0, true)) do
        for _, value in ipairs(type(values) == "table" and values or { values }) do
            local key = name:lower()
            if key ~= "host" and key ~= "expect" then
                -- nginx refuses line breaks in HTTP/1; what HTTP/2 lets through must not become a line of ours.
                local text = value == true and "" or value:gsub("[%z\r\n]", " ")
                fields[#fields + 1] = { name, text, key = key }
            end
        end
    end
    table.sort(fields, function(one, other)
        return one.key < other.key
    end)
    fields = heads.end_to_end(fields)
    -- HTTP/1.0 may have none, and a server no name. Last, so that no Connection field takes it away.
    local host = ngx.var.http_host or ngx.var.host
    table.insert(fields, 1, { "Host", host ~= "" and host or "localhost", key = "host" })
    return fields
end

--- Path and query as the client wrote them.
function _M.target()
    local target = ngx.var.request_uri
    return target:sub(1, 1) == "/" and target or "/" .. target -- of `GET http://host?query`, nginx has only the query
end

--- The head to encapsulate: with an absolute URL, as proxies write it, so that logs and rules see scheme and host.
function _M.head(fields)
    local url = ngx.var.scheme .. "://" .. fields[1][2] .. _M.target()
    return heads.build(ngx.req.get_method() .. " " .. url .. " HTTP/1.1", fields)
end

--- The ICAP header fields that say whose request it is.
function _M.sender()
    local var = ngx.var
    -- A client on a Unix socket has no address: it is this machine.
    local address = var.remote_addr == "unix:" and "127.0.0.1" or var.remote_addr
    local fields = { { "X-Client-IP", address } }
    if var.icap_user and var.icap_user ~= "" then
        fields[#fields + 1] = { "X-Client-Username", heads.one_line(var.icap_user) }
    end
    fields[#fields + 1] = { "X-Request-ID", var.request_id }
    return fields
end

--- The extension of the path, in lower case, or "": what Transfer-Preview goes by.
function _M.extension()
    return (ngx.var.uri:match("%.([%w]+)$") or ""):lower()
end

--- Read the request's body into nginx's memory or file, and open it. nginx's own limits hold (client_max_body_size).
-- @return the body; nil when there is none; nil and an error.
function _M.body()
    -- Throws for HTTP/2 without Content-Length, in versions of ngx_lua that cannot read it.
    local ok, err = pcall(ngx.req.read_body)
    if not ok then
        return nil, err
    end
    local text = ngx.req.get_body_data()
    if text then
        return text ~= "" and body.of_text(text) or nil
    end
    local path = ngx.req.get_body_file()
    if not path then
        return nil
    end
    return body.of_file(path)
end

return _M
